package dev.laco.prune;

import dev.laco.Setting;
import dev.laco.UsageException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The texts that candidates are scored on, and that perplexity is measured on.
 *
 * @param calibration the sentences that candidates are scored on; null for the model's own {@code
 *     calibration.txt} if it has one, else the built-in sentences
 * @param evaluation the text that perplexity is measured on; null for the model's own {@code
 *     evaluation.txt} if it has one, else the built-in text
 * @param evaluationTokens token-id lists to measure on in place of a text; null for a text
 */
public record TextSettings(
    @Nullable Path calibration, @Nullable Path evaluation, @Nullable Path evaluationTokens) {
  /** The model's own texts or the built-in ones. */
  public static final TextSettings DEFAULT = new TextSettings(null, null, null);

  public TextSettings {
    if (evaluation != null && evaluationTokens != null) {
      throw new UsageException(
          Setting.of("evalText") + " and " + Setting.of("evalTokens") + " exclude each other");
    }
  }
}
