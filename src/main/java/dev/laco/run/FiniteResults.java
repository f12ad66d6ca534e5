package dev.laco.run;

import dev.laco.BadInputException;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.report.Perplexity;
import java.util.Locale;

/**
 * Refuses results that are infinite or NaN. They come from values that overflowed, and a choice
 * between such results means nothing.
 */
public final class FiniteResults {
  private static final String WHY =
      "; its weights are damaged, or so large that hidden states overflow";

  private FiniteResults() {}

  /**
   * Checks a search.
   *
   * @param model names the model in errors
   * @throws BadInputException if no model that was tried has a finite score
   */
  public static void require(Object model, SearchResult result) {
    boolean none =
        !result.trials().isEmpty()
            && result.trials().stream().noneMatch(trial -> isFinite(trial.score()));
    if (none || !isFinite(result.score())) {
      Score seen = none ? result.trials().getFirst().score() : result.score();
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: none of the %,d models tried has a finite score (seen: %s)%s",
              model,
              result.trials().size(),
              describe(seen),
              WHY));
    }
  }

  /**
   * Checks the score of a pruned model.
   *
   * @throws BadInputException if the score is not finite
   */
  public static void require(Object model, Score pruned) {
    if (!isFinite(pruned)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: the pruned model has %s: nothing is written%s",
              model,
              describe(pruned),
              WHY));
    }
  }

  /**
   * Checks a perplexity.
   *
   * @param whose names the model in errors
   * @param text names the text in errors
   * @throws BadInputException if the perplexity is not finite
   */
  public static Perplexity require(Object whose, String text, Perplexity perplexity) {
    if (!isFinite(perplexity)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: perplexity on %s is %s (mean nll %s over %,d tokens)%s",
              whose,
              text,
              perplexity.perplexity(),
              perplexity.meanNll(),
              perplexity.tokens(),
              WHY));
    }
    return perplexity;
  }

  /**
   * Checks a measured value.
   *
   * @param model names the model in errors
   * @param what names the value in errors
   * @throws BadInputException if the value is not finite
   */
  public static double require(Object model, String what, double value) {
    if (!Double.isFinite(value)) {
      throw new BadInputException(model + ": " + what + " is " + value + WHY);
    }
    return value;
  }

  /** Whether a perplexity is a finite number. */
  public static boolean isFinite(Perplexity perplexity) {
    return Double.isFinite(perplexity.perplexity());
  }

  private static boolean isFinite(Score score) {
    Score.Language language = score.language();
    return Double.isFinite(score.mean())
        && (language == null
            || (Double.isFinite(language.nll())
                && (language.kl() == null || Double.isFinite(language.kl()))));
  }

  private static String describe(Score score) {
    Score.Language language = score.language();
    String similarity = "similarity " + score.mean();
    if (language == null) {
      return similarity;
    }
    String nll = similarity + ", nll " + language.nll();
    return language.kl() == null ? nll : nll + ", divergence " + language.kl();
  }
}
