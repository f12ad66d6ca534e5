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
 * @param topK number of tokens sampled from, the likeliest ones; 0 for all
 * @param topP probability that the tokens sampled from make up together, the likeliest first
 * @param minP least probability of a token sampled from, as a share of the likeliest one's; 0 for
 *     all
 * @param repetitionPenalty by which logits of tokens that the prompt or the text has already are
 *     divided, or multiplied where they are negative, also at temperature 0; 1 for none
 * @param seed seed of sampling: the same seed gives the same text
 */
public record GenerateRequest(
    String prompt,
    Boolean chat,
    @Nullable String system,
    Integer maxTokens,
    Double temperature,
    Integer topK,
    Double topP,
    Double minP,
    Double repetitionPenalty,
    Long seed)
    implements Request {
  /** The default of {@code maxTokens}. */
  public static final int MAX_TOKENS = 100;

  /** The default of {@code temperature}. */
  public static final double TEMPERATURE = 0.8;

  /** The default of {@code topK}: all tokens. */
  public static final int TOP_K = 0;

  /** The default of {@code topP}. */
  public static final double TOP_P = 0.95;

  /** The default of {@code minP}: all tokens. */
  public static final double MIN_P = 0;

  /** The default of {@code repetitionPenalty}: none. */
  public static final double REPETITION_PENALTY = 1;

  private static final int MOST_TOKENS = 1 << 26;
  private static final double LEAST_PENALTY = 0.01;
  private static final double MOST_PENALTY = 100;

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
    topK = Objects.requireNonNullElse(topK, TOP_K);
    topP = Objects.requireNonNullElse(topP, TOP_P);
    minP = Objects.requireNonNullElse(minP, MIN_P);
    repetitionPenalty = Objects.requireNonNullElse(repetitionPenalty, REPETITION_PENALTY);
    seed = Objects.requireNonNullElse(seed, 0L);
    if (maxTokens < 1 || maxTokens > MOST_TOKENS) {
      throw Setting.of("maxTokens").refuse(maxTokens, "1 to " + MOST_TOKENS);
    }
    if (!(temperature >= 0) || !Double.isFinite(temperature)) {
      throw Setting.of("temperature").refuse(temperature, "a number of at least 0");
    }
    if (topK < 0) {
      throw Setting.of("topK").refuse(topK, "at least 1, or 0 for all tokens");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw Setting.of("topP").refuse(topP, "a number above 0, at most 1");
    }
    if (!(minP >= 0 && minP <= 1)) {
      throw Setting.of("minP").refuse(minP, "a number from 0 to 1");
    }
    // Further away, logits of f32 become infinite or 0, and all such tokens alike.
    if (!(repetitionPenalty >= LEAST_PENALTY && repetitionPenalty <= MOST_PENALTY)) {
      throw Setting.of("repetitionPenalty")
          .refuse(repetitionPenalty, "a number from " + LEAST_PENALTY + " to " + MOST_PENALTY);
    }
  }

  /** A prompt, with defaults for all else. */
  public static GenerateRequest of(String prompt) {
    return new GenerateRequest(
        prompt, false, null, MAX_TOKENS, TEMPERATURE, TOP_K, TOP_P, MIN_P, REPETITION_PENALTY, 0L);
  }

  /**
   * The same as a chat: the prompt is the user's message.
   *
   * @param message what the chat begins with, the system's message; null for none
   */
  public GenerateRequest inChat(@Nullable String message) {
    return new GenerateRequest(
        prompt, true, message, maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed);
  }

  /** The same with another number of new tokens at most. */
  public GenerateRequest withMaxTokens(int most) {
    return new GenerateRequest(
        prompt, chat, system, most, temperature, topK, topP, minP, repetitionPenalty, seed);
  }

  /** The same with another temperature, probability of the tokens sampled from, and seed. */
  public GenerateRequest withSampling(double otherTemperature, double otherTopP, long otherSeed) {
    return new GenerateRequest(
        prompt,
        chat,
        system,
        maxTokens,
        otherTemperature,
        topK,
        otherTopP,
        minP,
        repetitionPenalty,
        otherSeed);
  }

  /** The same, sampling from so many of the likeliest tokens; 0 for all. */
  public GenerateRequest withTopK(int most) {
    return new GenerateRequest(
        prompt, chat, system, maxTokens, temperature, most, topP, minP, repetitionPenalty, seed);
  }

  /** The same, sampling from tokens with at least this share of the likeliest one's probability. */
  public GenerateRequest withMinP(double least) {
    return new GenerateRequest(
        prompt, chat, system, maxTokens, temperature, topK, topP, least, repetitionPenalty, seed);
  }

  /** The same with another penalty of tokens that the prompt or the text has already. */
  public GenerateRequest withRepetitionPenalty(double penalty) {
    return new GenerateRequest(
        prompt, chat, system, maxTokens, temperature, topK, topP, minP, penalty, seed);
  }
}
