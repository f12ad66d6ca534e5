package dev.laco.evaluate;

import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.run.Passages;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** What is measured of a model. */
public sealed interface EvaluateRequest {
  /**
   * The perplexity of a text, which is cut into chunks.
   *
   * @param file null for the model's own {@code evaluation.txt} if it has one, else the built-in
   *     text
   * @param maxLength tokens of a chunk; null for the smaller of the model's positions and 2048
   * @param stride tokens from one chunk to the next; null for the length of a chunk
   */
  record Text(@Nullable Path file, @Nullable Integer maxLength, @Nullable Integer stride)
      implements EvaluateRequest {
    /** The model's own text or the built-in one, in chunks of the usual length. */
    public static final Text OWN = new Text(null, null, null);

    public Text {
      requirePositive("maxLength", maxLength);
      requirePositive("stride", stride);
    }

    private static void requirePositive(String setting, @Nullable Integer value) {
      if (value != null && value < 1) {
        throw new UsageException(Setting.of(setting) + " " + value + ": expected at least 1");
      }
    }
  }

  /** The perplexity of token-id lists, each scored on its own. */
  record Tokens(Path file) implements EvaluateRequest {}

  /** How often the last word of a passage is known. */
  record LastWords(Passages passages) implements EvaluateRequest {}
}
