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
 * @param text what the model is trained on: {@code .txt}, {@code .jsonl} or {@code .json}; null for
 *     the original's own {@code fit.txt} if it has one, else the built-in text
 * @param tokens on which to train; the text is met again where it is shorter. Null for one pass
 *     over the text
 * @param within seconds that the whole job may take, in place of a number of tokens
 * @param stepTokens tokens of one step of the optimizer; null for a number that suits the model
 * @param rate the largest learning rate; null for one that suits the model
 * @param labelShare share of the loss that is the language model's own, 0 to 1
 * @param seed of the order of the text
 * @param evaluation the text that perplexity is measured on; null for the original's own {@code
 *     evaluation.txt} if it has one, else the built-in text
 * @param evaluationTokens token-id lists to measure on in place of a text; null for a text
 */
public record HealRequest(
    @Nullable Path text,
    @Nullable Long tokens,
    @Nullable Double within,
    @Nullable Integer stepTokens,
    @Nullable Double rate,
    Double labelShare,
    Long seed,
    @Nullable Path evaluation,
    @Nullable Path evaluationTokens)
    implements Request {
  /** A request of all values; null stands for the default of each. */
  public HealRequest {
    labelShare = Objects.requireNonNullElse(labelShare, 0.0);
    seed = Objects.requireNonNullElse(seed, 0L);
    if (tokens != null && tokens < 1) {
      throw Setting.of("tokens").refuse(tokens, "at least 1");
    }
    if (within != null && !(within > 0 && within < 1e9)) {
      throw Setting.of("within").refuse(within, "a time above 0");
    }
    if (within != null && tokens != null) {
      throw new UsageException(
          Setting.of("within") + " and " + Setting.of("tokens") + " exclude each other");
    }
    if (stepTokens != null && stepTokens < 1) {
      throw Setting.of("stepTokens").refuse(stepTokens, "at least 1");
    }
    if (rate != null && !(rate > 0 && rate <= 1)) {
      throw Setting.of("rate").refuse(rate, "a number above 0, at most 1");
    }
    if (!(labelShare >= 0 && labelShare <= 1)) {
      throw Setting.of("labelShare").refuse(labelShare, "0 to 1");
    }
    if (evaluation != null && evaluationTokens != null) {
      throw new UsageException(
          Setting.of("evalText") + " and " + Setting.of("evalTokens") + " exclude each other");
    }
  }

  /** Defaults for everything. */
  public static final HealRequest DEFAULT =
      new HealRequest(null, null, null, null, null, 0.0, 0L, null, null);
}
