import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A scorer of one's own: layers whose number is a multiple of four are worth keeping.
 *
 * <pre>
 * java -cp "cli/target/lib/*" examples/OwnScorer.java models/storyteller 12
 * </pre>
 */
public final class OwnScorer implements Scorer {
  private final Scorer engine;

  OwnScorer(Scorer engine) {
    this.engine = engine;
  }

  @Override
  public List<Score> score(List<CollapsePlan> plans) {
    List<Score> scores = engine.score(plans);
    return IntStream.range(0, plans.size())
        .mapToObj(i -> worse(scores.get(i), removedMultiples(plans.get(i))))
        .toList();
  }

  private static long removedMultiples(CollapsePlan plan) {
    return IntStream.range(0, plan.source().layers())
        .filter(layer -> layer % 4 == 0)
        .filter(layer -> plan.layers().stream().noneMatch(mix -> mix.base() == layer))
        .count();
  }

  /** One nat for every layer that should have stayed. */
  private static Score worse(Score score, long by) {
    Score.Language language = score.language();
    return new Score(
        score.similarities(), new Score.Language(language.nll() + by, language.kl()));
  }

  @Override
  public void keep(List<CollapsePlan> plans) {
    engine.keep(plans);
  }

  @Override
  public int sweeps() {
    return engine.sweeps();
  }

  public static void main(String[] arguments) {
    PruneRequest request =
        PruneRequest.of(Goal.layers(Integer.parseInt(arguments[1]))).withRule("drop");
    try (Model model = Model.open(Path.of(arguments[0]));
        PruneJob job =
            new PruneJob(model, DeviceSettings.of("cpu"), request).scoredBy(OwnScorer::new)) {
      System.out.println(job.run().layers().describe());
    }
  }
}
