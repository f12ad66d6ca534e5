package dev.laco.model;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.RouterSpec.Scores;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Mixtures of experts in the place of feed-forward networks (Shazeer et al. 2017): a router gives
 * each token to a few of many small feed-forward networks, and adds up what they return, in shares.
 *
 * @param experts experts of a layer
 * @param chosen experts that a token is given to
 * @param width inner width of an expert
 * @param router how the logits of the router become the shares of a token's experts
 * @param sharedWidth inner width of one more expert, which every token is given to; 0 for none
 * @param gate the clamped gate of experts whose gate and up projections are {@link
 *     LayerRole#GATE_UP_TRANSPOSED one matrix}; null for gates like those of a feed-forward network
 * @param layers whether a layer has a mixture, for each layer; the others have one feed-forward
 *     network
 */
public record Mixture(
    int experts,
    int chosen,
    int width,
    RouterSpec router,
    int sharedWidth,
    @Nullable ClampedGate gate,
    List<Boolean> layers) {
  /** Most experts of all layers; the largest published mixtures have about 50,000. */
  private static final int MOST_EXPERTS = 65_536;

  /** The largest width of the shared experts of a layer, far more than any model has. */
  private static final int MOST_WIDTH = 1 << 26;

  public Mixture {
    layers = List.copyOf(layers);
  }

  /** How many layers in front of the first mixture have none. */
  public int firstWithout() {
    int first = layers.indexOf(true);
    return first < 0 ? layers.size() : first;
  }

  /**
   * How the configs of a family say what its mixtures are. Every layer has one, and a token's
   * shares are a softmax over the logits of its experts, unless the family says otherwise.
   */
  static final class Keys {
    private static final String TYPES = "mlp_layer_types";
    private static final String SPARSE = "sparse";
    private static final String DENSE = "dense";

    private final String width;
    private final List<String> experts;
    private String chosen = "num_experts_per_tok";
    private Scores scores = Scores.SOFTMAX;
    private Predicate<JsonFields> normalised = config -> true;
    private boolean normalisedByConfig;
    private ToDoubleFunction<JsonFields> factor = config -> 1;
    private double added;
    private Optional<ToIntFunction<JsonFields>> bestOfGroup = Optional.empty();
    private ToIntFunction<JsonFields> sharedWidth = config -> 0;
    private boolean clamped;
    private boolean typed;
    private Optional<String> keyOfFirst = Optional.empty();
    private BiFunction<JsonFields, Integer, List<Boolean>> layers =
        (config, depth) -> Collections.nCopies(depth, true);

    private Keys(String width, List<String> experts) {
      this.width = width;
      this.experts = experts;
    }

    /**
     * Begins the description.
     *
     * @param width key of the inner width of an expert
     * @param experts keys of the number of experts, of which configs have one
     */
    static Keys of(String width, String... experts) {
      return new Keys(width, List.of(experts));
    }

    /** The key of the number of experts that a token is given to. */
    Keys chosen(String key) {
      chosen = key;
      return this;
    }

    /** What the logits of a router become. */
    Keys scores(Scores ofFamily) {
      scores = ofFamily;
      return this;
    }

    /** Shares sum to 1 where {@code norm_topk_prob} is true. */
    Keys normalisedByConfig(boolean byDefault) {
      normalised = config -> config.booleanOr("norm_topk_prob", byDefault);
      normalisedByConfig = true;
      return this;
    }

    /** Shares do not sum to 1, whatever {@code norm_topk_prob} says. */
    Keys unnormalised() {
      normalised = config -> false;
      return this;
    }

    /** The factor on shares. */
    Keys factor(ToDoubleFunction<JsonFields> ofConfig) {
      factor = ofConfig;
      return this;
    }

    /** What is added to the sum that scores are divided by. */
    Keys addedToSum(double number) {
      added = number;
      return this;
    }

    /**
     * Experts are chosen of {@code topk_group} of {@code n_group} groups.
     *
     * @param best by how many of its experts a group is chosen, by a config; 0 where no groups are
     */
    Keys groups(ToIntFunction<JsonFields> best) {
      bestOfGroup = Optional.of(best);
      return this;
    }

    /** The inner width of the expert that all tokens are given to; 0 for none. */
    Keys shared(ToIntFunction<JsonFields> ofConfig) {
      sharedWidth = ofConfig;
      return this;
    }

    /**
     * So many experts that all tokens are given to, stored as one that is as wide as all of them.
     *
     * @param key of their number
     */
    Keys sharedExperts(String key, int byDefault) {
      return shared(
          config -> {
            long all = (long) config.countOr(key, byDefault) * config.requiredPositive(width);
            if (all > MOST_WIDTH) {
              throw config.error(key, "so few that all are at most " + MOST_WIDTH + " wide");
            }
            return (int) all;
          });
    }

    /** Experts have a {@link Mixture#gate clamped gate}. */
    Keys clamped() {
      clamped = true;
      return this;
    }

    /**
     * Every {@code decoder_sparse_step}-th layer has a mixture, but for those in {@code
     * mlp_only_layers}.
     */
    Keys everyStep() {
      layers = Keys::bySteps;
      return this;
    }

    /** The first layers have none: so many as {@code first_k_dense_replace} says. */
    Keys behindFirst(int byDefault) {
      return behindFirst("first_k_dense_replace", byDefault);
    }

    /** The first layers have none: so many as a key says. */
    Keys behindFirst(String key, int byDefault) {
      keyOfFirst = Optional.of(key);
      return between(config -> config.countOr(key, byDefault), config -> Integer.MAX_VALUE);
    }

    /**
     * Layers have one where {@code mlp_layer_types} says so; where a config has no such list, all
     * but the first.
     */
    Keys byTypes() {
      layers =
          (config, depth) ->
              IntStream.range(0, depth)
                  .mapToObj(
                      l ->
                          config.has(TYPES)
                              ? LayerAttentions.isOfType(config, TYPES, depth, l, SPARSE, DENSE)
                              : l > 0)
                  .toList();
      typed = true;
      return this;
    }

    /** Layers from one on have a mixture, up to another one and with that. */
    Keys between(ToIntFunction<JsonFields> first, ToIntFunction<JsonFields> last) {
      layers =
          (config, depth) -> {
            int from = first.applyAsInt(config);
            int to = last.applyAsInt(config);
            return IntStream.range(0, depth).mapToObj(l -> from <= l && l <= to).toList();
          };
      return this;
    }

    private static List<Boolean> bySteps(JsonFields config, int depth) {
      int step = config.positiveOr("decoder_sparse_step", 1);
      List<Boolean> mixtures = new ArrayList<>();
      for (int layer = 0; layer < depth; layer++) {
        mixtures.add((layer + 1) % step == 0);
      }
      for (int dense : config.counts("mlp_only_layers")) {
        if (dense < depth) {
          mixtures.set(dense, false);
        }
      }
      return mixtures;
    }

    /** Keys of the number of experts, of which configs have one. */
    List<String> experts() {
      return experts;
    }

    /**
     * Writes which layers have a mixture of experts, where a config would say something else of
     * layers that pruning has moved.
     */
    void writeLayers(List<Boolean> mixtures, ObjectNode config) {
      if (typed) {
        ArrayNode types = config.putArray(TYPES);
        mixtures.forEach(mixture -> types.add(mixture ? SPARSE : DENSE));
        return;
      }
      if (keyOfFirst.isPresent()) {
        int first = mixtures.indexOf(true);
        config.put(keyOfFirst.get(), first < 0 ? mixtures.size() : first);
        return;
      }
      ArrayNode without = config.put("decoder_sparse_step", 1).putArray("mlp_only_layers");
      IntStream.range(0, mixtures.size()).filter(l -> !mixtures.get(l)).forEach(without::add);
    }

    /** The key of the inner width of an expert. */
    String width() {
      return width;
    }

    /** What the logits of a router become. */
    Scores scores() {
      return scores;
    }

    /** The key of the number of experts that a token is given to. */
    String chosen() {
      return chosen;
    }

    /** Whether {@code norm_topk_prob} says whether shares sum to 1. */
    boolean isNormalisedByConfig() {
      return normalisedByConfig;
    }

    private RouterSpec router(JsonFields config, int experts, int taken) {
      return new RouterSpec(
          scores,
          normalised.test(config),
          factor.applyAsDouble(config),
          added,
          bestOfGroup
              .map(best -> groups(config, experts, taken, best.applyAsInt(config)))
              .orElse(null));
    }

    /**
     * The groups of experts; null where all groups stay, as no group is chosen then.
     *
     * @param taken experts that a token is given to
     */
    private static RouterSpec.@Nullable Groups groups(
        JsonFields config, int experts, int taken, int best) {
      int count = config.positiveOr("n_group", 1);
      int chosen = config.positiveOr("topk_group", 1);
      if (best == 0 || chosen == count) {
        return null;
      }
      RouterSpec.Groups groups = new RouterSpec.Groups(count, chosen, best);
      if (!groups.divide(experts)) {
        throw config.error(
            "n_group",
            String.format(
                Locale.ROOT,
                "a divisor of the number of experts, %d, of at most %d, with %d or more experts each",
                experts,
                RouterSpec.Groups.MOST,
                best));
      }
      if (!groups.haveRoom(experts, taken)) {
        throw config.error(
            "topk_group",
            "at most n_group, " + count + ", and so many that they have " + taken + " experts");
      }
      return groups;
    }
  }

  /**
   * Reads the mixtures of a config.
   *
   * @param depth number of layers
   * @throws dev.laco.BadInputException if a field is missing or wrong
   */
  static Mixture parse(JsonFields config, Keys keys, int depth) {
    String counted =
        keys.experts.stream().filter(config::has).findFirst().orElse(keys.experts.getFirst());
    int experts = config.requiredPositive(counted);
    if ((long) experts * depth > MOST_EXPERTS) {
      throw config.error(
          counted, "at most " + MOST_EXPERTS / depth + " in each of " + depth + " layers");
    }
    int chosen = config.requiredPositive(keys.chosen);
    if (chosen > experts) {
      throw config.error(keys.chosen, "at most " + counted + ", " + experts);
    }
    return new Mixture(
        experts,
        chosen,
        config.requiredPositive(keys.width),
        keys.router(config, experts, chosen),
        keys.sharedWidth.applyAsInt(config),
        keys.clamped ? clampedGate(config) : null,
        keys.layers.apply(config, depth));
  }

  private static ClampedGate clampedGate(JsonFields config) {
    double limit = config.numberOr("swiglu_limit", 7);
    if (!(limit > 0)) {
      throw config.error("swiglu_limit", "a number above 0");
    }
    return new ClampedGate(config.numberOr("swiglu_alpha", 1.702), limit);
  }
}
