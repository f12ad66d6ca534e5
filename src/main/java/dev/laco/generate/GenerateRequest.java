package dev.laco.generate;

import dev.laco.Legible;
import dev.laco.Request;
import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a model continues, and how. A number that is left out of a request's JSON, or null here, is
 * its default.
 *
 * @param prompt the text that the model continues; the user's message of a chat
 * @param chat whether the model answers the prompt, by its chat template, in place of continuing it
 * @param system what a chat begins with, the system's message; null for none
 * @param maxTokens most new tokens
 * @param temperature temperature of sampling; 0 for the likeliest token each time
 * @param topP probability that the tokens sampled from make up together, the likeliest first
 * @param seed seed of sampling: the same seed gives the same text
 */
public record GenerateRequest(
    String prompt,
    Boolean chat,
    @Nullable String system,
    Integer maxTokens,
    Double temperature,
    Double topP,
    Long seed)
    implements Request {
  /** The default of {@code maxTokens}. */
  public static final int MAX_TOKENS = 100;

  /** The default of {@code temperature}. */
  public static final double TEMPERATURE = 0.8;

  /** The default of {@code topP}. */
  public static final double TOP_P = 0.95;

  private static final int MOST_TOKENS = 1 << 26;

  /**
   * A request of all values; a null number stands for its default.
   *
   * @throws UsageException if there is no prompt, a system's message without a chat, or a number
   *     out of range
   */
  public GenerateRequest {
    if (prompt == null) {
      throw new UsageException(Setting.of("prompt") + " is missing: give the text to continue");
    }
    chat = Objects.requireNonNullElse(chat, false);
    if (system != null && !chat) {
      throw Setting.of("system")
          .refuse(Legible.excerpt(system), " begins a chat: ", "add " + Setting.of("chat"));
    }
    maxTokens = Objects.requireNonNullElse(maxTokens, MAX_TOKENS);
    temperature = Objects.requireNonNullElse(temperature, TEMPERATURE);
    topP = Objects.requireNonNullElse(topP, TOP_P);
    seed = Objects.requireNonNullElse(seed, 0L);
    if (maxTokens < 1 || maxTokens > MOST_TOKENS) {
      throw Setting.of("maxTokens").refuse(maxTokens, "1 to " + MOST_TOKENS);
    }
    if (!(temperature >= 0) || !Double.isFinite(temperature)) {
      throw Setting.of("temperature").refuse(temperature, "a number of at least 0");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw Setting.of("topP").refuse(topP, "a number above 0, at most 1");
    }
  }

  /** A prompt, with defaults for all else. */
  public static GenerateRequest of(String prompt) {
    return new GenerateRequest(prompt, false, null, MAX_TOKENS, TEMPERATURE, TOP_P, 0L);
  }

  /**
   * The same as a chat: the prompt is the user's message.
   *
   * @param message what the chat begins with, the system's message; null for none
   */
  public GenerateRequest inChat(@Nullable String message) {
    return new GenerateRequest(prompt, true, message, maxTokens, temperature, topP, seed);
  }

  /** The same with another number of new tokens at most. */
  public GenerateRequest withMaxTokens(int most) {
    return new GenerateRequest(prompt, chat, system, most, temperature, topP, seed);
  }

  /** The same with other sampling. */
  public GenerateRequest withSampling(double otherTemperature, double otherTopP, long otherSeed) {
    return new GenerateRequest(
        prompt, chat, system, maxTokens, otherTemperature, otherTopP, otherSeed);
  }
}
