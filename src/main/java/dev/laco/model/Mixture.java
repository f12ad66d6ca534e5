package dev.laco.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Mixtures of experts in the place of feed-forward networks (Shazeer et al. 2017): a router gives
 * each token to a few of many small feed-forward networks, and adds up what they return, in shares.
 *
 * @param experts experts of a layer
 * @param chosen experts that a token is given to: those of the largest router logits
 * @param width inner width of an expert
 * @param normalised whether the shares of a token's experts are a softmax over these experts; else
 *     over all experts
 * @param sharedWidth inner width of one more expert, which every token is given to; 0 for none
 * @param gate the gate of experts whose gate and up projections are {@link
 *     LayerRole#GATE_UP_TRANSPOSED one matrix}, and which have biases, as their router has; null
 *     for experts like a gated feed-forward network without biases
 * @param layers whether a layer has a mixture, for each layer; the others have one feed-forward
 *     network
 */
public record Mixture(
    int experts,
    int chosen,
    int width,
    boolean normalised,
    int sharedWidth,
    @Nullable ClampedGate gate,
    List<Boolean> layers) {
  /** Most experts of all layers; the largest published mixtures have about 50,000. */
  private static final int MOST_EXPERTS = 65_536;

  public Mixture {
    layers = List.copyOf(layers);
  }

  /**
   * How the configs of a family say what its mixtures are.
   *
   * @param experts keys of the number of experts, of which configs have one
   * @param width key of the inner width of an expert
   * @param shares over which experts shares are a softmax
   * @param shared whether there is a shared expert
   * @param clamped whether experts have a {@link Mixture#gate clamped gate}
   * @param denseLayers whether {@code decoder_sparse_step} and {@code mlp_only_layers} say which
   *     layers have mixtures; else all have
   */
  record Keys(
      List<String> experts,
      String width,
      Shares shares,
      boolean shared,
      boolean clamped,
      boolean denseLayers) {
    Keys {
      experts = List.copyOf(experts);
    }

    /** Keys of mixtures whose experts have no clamped gate. */
    Keys(List<String> experts, String width, Shares shares, boolean shared, boolean denseLayers) {
      this(experts, width, shares, shared, false, denseLayers);
    }
  }

  /** Over which experts the shares of a family's tokens are a softmax. */
  enum Shares {
    CHOSEN,
    /** The chosen ones where {@code norm_topk_prob} is true, else all. */
    BY_CONFIG
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
    int chosen = config.requiredPositive("num_experts_per_tok");
    if (chosen > experts) {
      throw config.error("num_experts_per_tok", "at most " + counted + ", " + experts);
    }
    return new Mixture(
        experts,
        chosen,
        config.requiredPositive(keys.width),
        keys.shares == Shares.CHOSEN || config.booleanOr("norm_topk_prob", false),
        keys.shared ? config.requiredPositive("shared_expert_intermediate_size") : 0,
        keys.clamped ? clampedGate(config) : null,
        keys.denseLayers ? mixtures(config, depth) : allOf(depth));
  }

  private static ClampedGate clampedGate(JsonFields config) {
    double limit = config.numberOr("swiglu_limit", 7);
    if (!(limit > 0)) {
      throw config.error("swiglu_limit", "a number above 0");
    }
    return new ClampedGate(config.numberOr("swiglu_alpha", 1.702), limit);
  }

  private static List<Boolean> allOf(int depth) {
    return Collections.nCopies(depth, true);
  }

  /**
   * Every {@code decoder_sparse_step}-th layer has a mixture, but for those in {@code
   * mlp_only_layers}.
   */
  private static List<Boolean> mixtures(JsonFields config, int depth) {
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
}
