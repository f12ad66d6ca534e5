package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Rotary position embedding settings (Su et al. 2021), as {@code config.json} gives them under
 * {@code rope_parameters}, or under {@code rope_scaling} and {@code rope_theta}.
 *
 * @param theta base of the frequencies
 * @param share the share of a head's elements that is rotated; the first ones are
 * @param scaling how frequencies are changed for contexts longer than those of the training
 * @param queries what becomes of queries that are rotated; null for nothing
 */
public record RopeParameters(
    double theta, double share, Scaling scaling, @Nullable QueryScale queries) {

  /** Settings that rotate queries as they rotate keys. */
  public RopeParameters(double theta, double share, Scaling scaling) {
    this(theta, share, scaling, null);
  }

  /**
   * Queries of later positions are longer, as Llama 4 and Ministral 3 have them: that of position p
   * is multiplied by {@code 1 + beta ln(1 + floor(p / positions))}.
   */
  public record QueryScale(double beta, int positions) {
    /** The factor at a position. */
    double at(int position) {
      return 1 + beta * Math.log1p(Math.floorDiv(position, positions));
    }
  }

  /** The rotation of keys. */
  public RopeParameters ofKeys() {
    return queries == null ? this : new RopeParameters(theta, share, scaling);
  }

  /** A way to stretch the context. */
  public sealed interface Scaling {}

  /** No scaling. */
  public record Default() implements Scaling {}

  /** Position interpolation (Chen et al. 2023): all frequencies divided by {@code factor}. */
  public record Linear(double factor) implements Scaling {}

  /** Dynamic NTK: theta grows with the length of the sequence beyond {@code originalPositions}. */
  public record Dynamic(double factor, int originalPositions) implements Scaling {}

  /**
   * Llama 3.1 (Grattafiori et al. 2024, as transformers computes it): frequencies of long
   * wavelengths are divided by {@code factor}, those of short ones are kept, and those between are
   * interpolated.
   */
  public record Llama3(
      double factor, double lowFreqFactor, double highFreqFactor, int originalPositions)
      implements Scaling {
    /**
     * The factors by which frequencies are divided, one for each pair of elements that are rotated.
     *
     * @param theta base of the frequencies
     * @param width elements of a head that are rotated
     */
    public List<Double> factors(double theta, int width) {
      return IntStream.range(0, width / 2)
          .mapToObj(
              i -> {
                double wavelength = 2 * Math.PI * Math.pow(theta, 2.0 * i / width);
                double smooth =
                    Math.clamp(
                        (originalPositions / wavelength - lowFreqFactor)
                            / (highFreqFactor - lowFreqFactor),
                        0.0,
                        1.0);
                return 1 / ((1 - smooth) / factor + smooth);
              })
          .toList();
    }
  }

  /**
   * YaRN (Peng et al. 2023).
   *
   * @param attentionFactor factor on cosines and sines
   * @param truncate whether the correction range is rounded to whole dimensions
   */
  public record Yarn(
      double factor,
      double attentionFactor,
      double betaFast,
      double betaSlow,
      boolean truncate,
      int originalPositions)
      implements Scaling {}

  /**
   * LongRoPE (Ding et al. 2024): each frequency is divided by a factor of its own, one list of
   * factors for sequences up to {@code originalPositions} tokens and another for longer ones.
   *
   * @param attentionFactor factor on cosines and sines
   */
  public record LongRope(
      List<Double> shortFactors,
      List<Double> longFactors,
      double attentionFactor,
      int originalPositions)
      implements Scaling {
    public LongRope {
      shortFactors = List.copyOf(shortFactors);
      longFactors = List.copyOf(longFactors);
    }
  }

  /**
   * Whether a family's models may rotate a share of each head.
   *
   * @param partial whether they may
   * @param ofConfig the share by a config whose {@code rope_parameters} say none
   */
  record Rotates(boolean partial, ToDoubleFunction<JsonFields> ofConfig) {
    static final Rotates BY_CONFIG = shareOf("partial_rotary_factor", 1);
    static final Rotates WHOLE_HEADS = new Rotates(false, BY_CONFIG.ofConfig);

    /**
     * A share that a key says.
     *
     * @param otherwise the share where the config has none
     */
    static Rotates shareOf(String key, double otherwise) {
      return by(config -> config.numberOr(key, otherwise));
    }

    /** A share that several keys say. */
    static Rotates by(ToDoubleFunction<JsonFields> ofConfig) {
      return new Rotates(true, ofConfig);
    }

    double share(JsonFields config) {
      return ofConfig.applyAsDouble(config);
    }
  }

  /** Elements of a head of {@code headDim} elements that are rotated. */
  public int rotated(int headDim) {
    return (int) (headDim * share);
  }

  /** Reads settings from a config, with what they need beside their own keys. */
  record Reader(JsonFields config, int maxPositionEmbeddings, int headDim, Rotates rotates) {
    /**
     * Settings in either place of the config.
     *
     * @param defaultTheta theta where the config has none
     */
    RopeParameters read(double defaultTheta) {
      String key = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
      return config.has(key)
          ? read(nested(config, key), config.numberOr("rope_theta", defaultTheta))
          : plain(config.numberOr("rope_theta", defaultTheta));
    }

    /**
     * Settings of one type of attention, as transformers 5 writes them; empty where the config has
     * the older keys.
     */
    Optional<RopeParameters> readOfType(String type, double defaultTheta) {
      if (!config.node().path("rope_parameters").path(type).isObject()) {
        return Optional.empty();
      }
      return Optional.of(read(nested(nested(config, "rope_parameters"), type), defaultTheta));
    }

    /** Settings without scaling. */
    RopeParameters plain(double theta) {
      double share = rotates.share(config);
      return new RopeParameters(
          positiveTheta(config, theta), share(config, share, headDim, rotates), new Default());
    }

    private static JsonFields nested(JsonFields where, String key) {
      return new JsonFields(where.file() + ": " + key, where.node().get(key));
    }

    private RopeParameters read(JsonFields rope, double defaultTheta) {
      double theta = positiveTheta(config, rope.numberOr("rope_theta", defaultTheta));
      String type = type(rope);
      double share =
          share(
              rope,
              rope.numberOr("partial_rotary_factor", rotates.share(config)),
              headDim,
              rotates);
      int original = rope.positiveOr("original_max_position_embeddings", maxPositionEmbeddings);
      Scaling scaling =
          switch (type) {
            // Three positions a token (Wang et al. 2024), which are equal for tokens of a text.
            case "default", "mrope" -> new Default();
            case "linear" -> new Linear(factor(rope));
            case "dynamic" -> new Dynamic(factor(rope), maxPositionEmbeddings);
            case "llama3" -> llama3(rope, original);
            // Configs of Phi-3 call LongRoPE su, or yarn, too.
            case "yarn" ->
                rope.has("long_factor")
                    ? longRope(config, rope, maxPositionEmbeddings, (int) (headDim * share))
                    : yarn(rope, original);
            case "longrope", "su" ->
                longRope(config, rope, maxPositionEmbeddings, (int) (headDim * share));
            default ->
                throw new BadInputException(
                    rope.file()
                        + ": rope_type \""
                        + Legible.excerpt(type)
                        + "\" is not supported; default, linear, dynamic, llama3, yarn and longrope are");
          };
      double beta = rope.numberOr("llama_4_scaling_beta", 0);
      return new RopeParameters(
          theta, share, scaling, beta == 0 ? null : new QueryScale(beta, original));
    }
  }

  private static double share(JsonFields where, double share, int headDim, Rotates rotates) {
    if (!rotates.partial() && share != 1) {
      throw where.error("partial_rotary_factor", "1.0, the only value this architecture has");
    }
    int rotated = (int) (headDim * share);
    if (!(share > 0) || share > 1 || rotated == 0 || rotated % 2 != 0) {
      throw where.error(
          "partial_rotary_factor",
          "a share of the " + headDim + " elements of a head that is an even number of them");
    }
    return share;
  }

  private static LongRope longRope(
      JsonFields config, JsonFields rope, int maxPositions, int rotated) {
    int original =
        rope.positiveOr(
            "original_max_position_embeddings",
            config.positiveOr("original_max_position_embeddings", maxPositions));
    double factor =
        original == maxPositions ? rope.numberOr("factor", 1) : (double) maxPositions / original;
    double attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
    return new LongRope(
        factors(rope, "short_factor", rotated / 2),
        factors(rope, "long_factor", rotated / 2),
        rope.numberOr("attention_factor", attention),
        original);
  }

  private static List<Double> factors(JsonFields rope, String key, int pairs) {
    JsonNode list = rope.node().path(key);
    List<Double> factors = new ArrayList<>();
    list.forEach(factor -> factors.add(factor.isNumber() ? factor.doubleValue() : 0));
    if (factors.size() != pairs || factors.stream().anyMatch(factor -> !(factor > 0))) {
      throw rope.error(key, "a list of " + pairs + " numbers above 0");
    }
    return factors;
  }

  private static double positiveTheta(JsonFields config, double theta) {
    if (!(theta > 0)) {
      throw config.error("rope_theta", "a number above 0");
    }
    return theta;
  }

  private static double factor(JsonFields rope) {
    double factor = rope.requiredNumber("factor");
    if (!(factor > 0)) {
      throw rope.error("factor", "a number above 0");
    }
    return factor;
  }

  private static Llama3 llama3(JsonFields rope, int original) {
    double low = rope.requiredNumber("low_freq_factor");
    double high = rope.requiredNumber("high_freq_factor");
    if (!(low > 0) || !(high > low)) {
      throw rope.error("high_freq_factor", "a number above low_freq_factor, which is above 0");
    }
    return new Llama3(factor(rope), low, high, original);
  }

  private static Yarn yarn(JsonFields rope, int original) {
    double factor = factor(rope);
    double mscale = rope.numberOr("mscale", 0);
    double mscaleAllDim = rope.numberOr("mscale_all_dim", 0);
    double attention =
        mscale != 0 && mscaleAllDim != 0
            ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim)
            : yarnScale(factor, 1);
    return new Yarn(
        factor,
        rope.numberOr("attention_factor", attention),
        rope.numberOr("beta_fast", 32),
        rope.numberOr("beta_slow", 1),
        rope.booleanOr("truncate", true),
        original);
  }

  /**
   * What a config that stretches its context makes of a key of its rotation: {@code 1 + 0.1 m
   * ln(factor)} with the key's number {@code m}; 1 where it stretches nothing or has no such key.
   */
  static double yarnScale(JsonFields config, String key) {
    String place = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!config.has(place)) {
      return 1;
    }
    JsonFields rope = Reader.nested(config, place);
    double mscale = rope.numberOr(key, 0);
    return mscale == 0 || type(rope).equals("default") ? 1 : yarnScale(factor(rope), mscale);
  }

  private static String type(JsonFields rope) {
    return rope.stringOr("rope_type", rope.stringOr("type", "default"));
  }

  private static double yarnScale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  }
}
