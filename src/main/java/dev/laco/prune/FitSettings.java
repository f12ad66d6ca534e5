package dev.laco.prune;

import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.fit.CarryOver;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * The text that weights are fitted on.
 *
 * @param file {@code .txt}, {@code .jsonl} or {@code .json}; null for the model's own {@code
 *     fit.txt} if it has one, else the built-in text
 * @param tokens of it that are used, at least 2; null for 96 for each feed-forward channel, 16,384
 *     to 131,072
 */
public record FitSettings(@Nullable Path file, @Nullable Integer tokens) {
  /** The model's own text or the built-in one, as much of it as suits the model. */
  public static final FitSettings DEFAULT = new FitSettings(null, null);

  /** A fit has as many unknowns for every output as there are channels: so many tokens for each. */
  private static final int TOKENS_PER_CHANNEL = 96;

  private static final int LEAST_TOKENS = 16_384;
  private static final int MOST_TOKENS = 131_072;

  public FitSettings {
    if (tokens != null && tokens < 2) {
      throw Setting.of("fitTokens").refuse(tokens, "at least 2");
    }
  }

  /**
   * The text for a model, cut to length.
   *
   * @throws BadInputException if it cannot be used with the model
   */
  public FitText text(Model model) {
    FitText limited =
        model.fitText(file).limit(tokens != null ? tokens : defaultTokens(model.config()));
    if (limited.chunks().size() < 2) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %d tokens in one window; a fit needs two, one to choose on: more text, or a larger %s",
              limited.name(),
              limited.tokens(),
              Setting.of("fitTokens")));
    }
    if (CarryOver.heldOut(limited.chunks()).stream().allMatch(chunk -> chunk.length() < 2)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: no window that is held out has a second token to predict: more text, or another %s",
              limited.name(),
              Setting.of("fitTokens")));
    }
    return limited;
  }

  /** The same, or null where there is none: it is not named, and the model has no tokenizer. */
  public @Nullable FitText textOrNull(Model model) {
    return file != null || model.tokenizer().isPresent() ? text(model) : null;
  }

  private static int defaultTokens(ModelConfig config) {
    long wanted = (long) TOKENS_PER_CHANNEL * config.intermediateSize();
    return Math.clamp(wanted, LEAST_TOKENS, MOST_TOKENS);
  }
}
