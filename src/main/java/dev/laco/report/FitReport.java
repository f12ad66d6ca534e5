package dev.laco.report;

import dev.laco.collapse.FitRule;
import dev.laco.model.LayerRole;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * How weights of a pruned model were fitted.
 *
 * @param rule what was fitted
 * @param text names the text of the fit for people
 * @param tokens tokens of the text that were used; 0 where the model predicted better without a
 *     fit, which was then left out
 * @param strength the factor on all penalties that predicted documents best which are held out of
 *     the fit
 * @param solver what solved the linear systems, and where
 * @param finalNorm the factor on the weight of the final norm; 1 if the weight is unchanged
 * @param norms how the weights of the norms were trained; null where they were not
 * @param choiceSeconds seconds that the choice among contenders took
 * @param fitSeconds seconds that the fit of the chosen model took
 * @param contenders models that were compared on documents held out of the fit
 * @param matrices every matrix that was fitted
 * @param leftAlone every matrix that should have been fitted and could not be
 * @param learningCurve held-out errors of a fit on more and more of the text
 */
public record FitReport(
    FitRule rule,
    String text,
    int tokens,
    double strength,
    String solver,
    double finalNorm,
    @Nullable Norms norms,
    double choiceSeconds,
    double fitSeconds,
    List<Contender> contenders,
    List<Fitted> matrices,
    List<LeftAlone> leftAlone,
    List<Learned> learningCurve) {
  public FitReport {
    contenders = List.copyOf(contenders);
    matrices = List.copyOf(matrices);
    leftAlone = List.copyOf(leftAlone);
    learningCurve = List.copyOf(learningCurve);
  }

  /** The number of layers of which something was fitted. */
  public long layers() {
    return matrices.stream().mapToInt(Fitted::layer).distinct().count();
  }

  /**
   * A model among which the best was chosen.
   *
   * @param layers layers of the original that the model keeps
   * @param fitted whether weights were fitted before it was measured; false for the best model of
   *     the search as it is
   * @param meanNll mean negative log-likelihood of a token of the documents that are held out, nats
   */
  public record Contender(List<Integer> layers, boolean fitted, double meanNll) {
    public Contender {
      layers = List.copyOf(layers);
    }
  }

  /**
   * A fitted matrix.
   *
   * @param layer index of the layer in the pruned model
   * @param role which matrix; the norm in front for an alignment of inputs, null for a
   *     reconstruction by all tensors of the layer
   * @param followers number of removed layers whose work the layer takes over
   * @param lambda the penalty; 0 for a reconstruction and for the compensation of a gap, which have
   *     none
   * @param error squared error after the fit relative to that before, on the documents held out;
   *     for a reconstruction, on the documents of the fit
   */
  public record Fitted(
      int layer, @Nullable LayerRole role, int followers, double lambda, double error) {
    /** The name of the matrix; {@code all} for all tensors of the layer. */
    public String matrix() {
      return name(role);
    }
  }

  /**
   * A matrix that keeps its values because there is no fit: its input is zero for every token, or
   * so large that sums overflow f32, or the fit harms text that it has not seen.
   *
   * @param layer as in {@link Fitted}
   * @param role as in {@link Fitted}
   */
  public record LeftAlone(int layer, @Nullable LayerRole role) {
    /** As of {@link Fitted#matrix}. */
    public String matrix() {
      return name(role);
    }
  }

  /**
   * The training of the norms behind the fit of the layers. The norms keep their weights where the
   * loss does not become smaller.
   *
   * @param tokens of the training, from which the layers have learnt nothing
   * @param lossBefore mean loss of a token on other documents that are held out, nats
   * @param lossAfter the same after the training
   */
  public record Norms(int tokens, double lossBefore, double lossAfter) {
    /** Whether the norms have new weights. */
    public boolean kept() {
      return lossAfter < lossBefore;
    }
  }

  private static String name(@Nullable LayerRole role) {
    return role == null ? "all" : role.name().toLowerCase(Locale.ROOT);
  }

  /**
   * A point of the learning curve.
   *
   * @param tokens of the fit text that were used
   * @param error held-out error of the fit, as in {@link Fitted}
   */
  public record Learned(int tokens, double error) {}
}
