package dev.laco.report;

import dev.laco.collapse.Objective;
import java.util.List;
import java.util.stream.DoubleStream;

/**
 * How the pruned model was chosen among the best models of a search and those of other people's
 * methods, where no weights were fitted.
 *
 * @param objective the measure by which the models were compared, that of the search
 * @param text names the text for people, which the search had not seen
 * @param tokens tokens of the text
 * @param seconds seconds that the choice took
 * @param contenders the models, the search's own first
 */
public record ChoiceReport(
    Objective objective, String text, int tokens, double seconds, List<Contender> contenders) {
  public ChoiceReport {
    contenders = List.copyOf(contenders);
  }

  /**
   * A model among which the best was chosen.
   *
   * @param layers layers of the original that the model keeps
   * @param measured its objective on this text
   */
  public record Contender(List<Integer> layers, double measured) {
    public Contender {
      layers = List.copyOf(layers);
    }
  }

  /** What the search's own model has of the objective. */
  public double searched() {
    return contenders.getFirst().measured();
  }

  /** What the chosen model has of the objective: the best of all. */
  public double chosen() {
    DoubleStream all = contenders.stream().mapToDouble(Contender::measured);
    return (objective == Objective.COSINE ? all.max() : all.min()).orElseThrow();
  }
}
