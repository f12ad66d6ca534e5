package dev.laco.prune;

import dev.laco.Setting;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The text that weights are fitted on, or that models are chosen on of which none is fitted.
 *
 * @param file {@code .txt}, {@code .jsonl} or {@code .json}; null for the model's own {@code
 *     fit.txt} if it has one, else the built-in text
 * @param tokens of it that are used, at least 2; null for 96 for each feed-forward channel, 16,384
 *     to 131,072, and 4,096 where nothing is fitted
 */
public record FitSettings(@Nullable Path file, @Nullable Integer tokens) {
  /** The model's own text or the built-in one, as much of it as suits the model. */
  public static final FitSettings DEFAULT = new FitSettings(null, null);

  public FitSettings {
    if (tokens != null && tokens < 2) {
      throw Setting.of("fitTokens").refuse(tokens, "at least 2");
    }
  }
}
