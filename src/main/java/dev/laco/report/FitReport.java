package dev.laco.report;

import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import java.util.List;

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
    double choiceSeconds,
    double fitSeconds,
    List<Contender> contenders,
    List<CarryOver.Fitted> matrices,
    List<CarryOver.LeftAlone> leftAlone,
    List<CarryOver.Learned> learningCurve) {
  public FitReport {
    contenders = List.copyOf(contenders);
    matrices = List.copyOf(matrices);
    leftAlone = List.copyOf(leftAlone);
    learningCurve = List.copyOf(learningCurve);
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
}
