package dev.laco.heal;

import dev.laco.Request;
import dev.laco.Setting;
import dev.laco.UsageException;
import java.nio.file.Path;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a heal: everything, beside models and device, that its result depends on. What
 * is left out of a request's JSON, or null here, is its default.
 *
 * @param heal how the model is trained
 * @param within seconds that the whole job may take, in place of a number of tokens
 * @param evaluation the text that perplexity is measured on; null for the original's own {@code
 *     evaluation.txt} if it has one, else the built-in text
 * @param evaluationTokens token-id lists to measure on in place of a text; null for a text
 */
public record HealRequest(
    HealSettings heal,
    @Nullable Double within,
    @Nullable Path evaluation,
    @Nullable Path evaluationTokens)
    implements Request {
  /** A request of all values; null stands for the default of each. */
  public HealRequest {
    heal = Objects.requireNonNullElse(heal, HealSettings.DEFAULT);
    heal.requireGoesWith(within);
    if (evaluation != null && evaluationTokens != null) {
      throw new UsageException(
          Setting.of("evalText") + " and " + Setting.of("evalTokens") + " exclude each other");
    }
  }

  /** Defaults for everything. */
  public static final HealRequest DEFAULT = new HealRequest(HealSettings.DEFAULT, null, null, null);
}
