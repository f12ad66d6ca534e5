package dev.laco.prune;

import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.heal.HealSettings;
import dev.laco.heal.HealStage;
import dev.laco.text.FitText;
import dev.laco.training.DistillationSettings;
import dev.laco.transformer.AdamWState;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The training that follows a fit where a request leaves both open ({@link
 * PruneRequest#leavesTrainingOpen}): all layers, on a quarter as many tokens as the fit had, and on
 * tokens that the fit does not see (docs/experiments/time.md, "A training behind the default's
 * fit").
 */
final class ShortTraining {
  /** Tokens of the fit for one of the training. */
  private static final int FITTED = 4;

  /** The fewest steps that are worth the test of rates in front of them. */
  private static final int LEAST_STEPS = 8;

  private ShortTraining() {}

  /**
   * The stage; null where there is no fit, where the training would have too few steps, or where
   * the text does not have as many tokens that the fit does not see.
   *
   * @param how all but the length and the layers of the training
   * @param source all of the text of the fit
   * @param fit the part of it that models are fitted on
   */
  static @Nullable HealStage of(
      HealSettings how,
      @Nullable FitText source,
      @Nullable FitText fit,
      SearchChoice search,
      Model model) {
    if (source == null || fit == null) {
      return null;
    }
    long tokens = tokens(fit);
    if (source.tokens() < fit.tokens() + tokens || hasTooFewSteps(fit, trained(search, model))) {
      return null;
    }
    HealSettings settings = how.with(tokens, HealSettings.Layers.ALL);
    HealStage stage = HealStage.of(settings, model, source, false);
    return stage.parts().tokens() < fit.tokens() + tokens ? null : stage;
  }

  /**
   * What a user should know of a training that is left out since the model is too large for it;
   * empty where it is left out for another reason.
   *
   * @param source all of the text of the fit
   * @param fit the part of it that models are fitted on, of a length that nobody has asked for
   * @param parameters of the layers that stay
   */
  static Optional<String> tooLarge(FitText source, FitText fit, long parameters) {
    if (source.tokens() < fit.tokens() + tokens(fit) || !hasTooFewSteps(fit, parameters)) {
      return Optional.empty();
    }
    return Optional.of(
        String.format(
            Locale.ROOT,
            "the fitted model is not trained, since the usual %,d tokens are fewer than %d steps for a"
                + " model of its size: %s with more tokens trains it, or %s",
            tokens(fit),
            LEAST_STEPS,
            Setting.of("healTokens"),
            Setting.of("within")));
  }

  private static long tokens(FitText fit) {
    return fit.tokens() / FITTED;
  }

  /** Parameters of the layers that stay. */
  static long trained(SearchChoice search, Model model) {
    return search.depthSought(model) * model.config().layerParameters();
  }

  private static boolean hasTooFewSteps(FitText fit, long parameters) {
    DistillationSettings usual = DistillationSettings.forModel(parameters, null, AdamWState.FULL);
    return tokens(fit) / usual.stepTokens(tokens(fit)) < LEAST_STEPS;
  }
}
