package dev.laco.model;

import java.util.EnumMap;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.UnaryOperator;

/**
 * The names of a family's tensors in checkpoints.
 *
 * @param layers what stands before the number of a layer
 * @param embedding the token embedding
 * @param finalNorm the final norm's weight
 * @param head the output projection
 * @param suffixes what stands behind the number of a layer and a dot, by role; roles of one suffix
 *     are rows of one tensor, in the order of {@link LayerRole}
 * @param experts the same for the roles of an expert of a mixture, with {@link #EXPERT} in the
 *     place of the expert's index; a name without it is that of one tensor of all experts
 */
record TensorNames(
    String layers,
    String embedding,
    String finalNorm,
    String head,
    Map<LayerRole, String> suffixes,
    Map<LayerRole, String> experts) {
  /** Stands for the index of an expert. */
  static final String EXPERT = "{expert}";

  /** The most digits of a layer's index that always fit an int. */
  private static final int MOST_DIGITS = 9;

  private static final Set<LayerRole> NORMS =
      Set.of(
          LayerRole.ATTENTION_INPUT_NORM,
          LayerRole.ATTENTION_INPUT_NORM_BIAS,
          LayerRole.ATTENTION_OUTPUT_NORM,
          LayerRole.FEED_FORWARD_INPUT_NORM,
          LayerRole.FEED_FORWARD_INPUT_NORM_BIAS,
          LayerRole.FEED_FORWARD_OUTPUT_NORM);

  /** Norms behind attention and feed-forward network. */
  static final Map<LayerRole, String> NORMS_BEHIND =
      Map.of(
          LayerRole.ATTENTION_OUTPUT_NORM, "post_attention_layernorm.weight",
          LayerRole.FEED_FORWARD_OUTPUT_NORM, "post_feedforward_layernorm.weight");

  /** Norms before and behind attention and feed-forward network. */
  static final Map<LayerRole, String> NORMS_AROUND =
      Map.of(
          LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight",
          LayerRole.ATTENTION_OUTPUT_NORM, "post_attention_layernorm.weight",
          LayerRole.FEED_FORWARD_INPUT_NORM, "pre_feedforward_layernorm.weight",
          LayerRole.FEED_FORWARD_OUTPUT_NORM, "post_feedforward_layernorm.weight");

  static final TensorNames LLAMA =
      new TensorNames(
          "model.layers.",
          "model.embed_tokens.weight",
          "model.norm.weight",
          "lm_head.weight",
          Map.ofEntries(
              Map.entry(LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight"),
              Map.entry(LayerRole.ATTENTION_INPUT_NORM_BIAS, "input_layernorm.bias"),
              Map.entry(LayerRole.QUERY, "self_attn.q_proj.weight"),
              Map.entry(LayerRole.KEY, "self_attn.k_proj.weight"),
              Map.entry(LayerRole.VALUE, "self_attn.v_proj.weight"),
              Map.entry(LayerRole.OUTPUT, "self_attn.o_proj.weight"),
              Map.entry(LayerRole.QUERY_BIAS, "self_attn.q_proj.bias"),
              Map.entry(LayerRole.KEY_BIAS, "self_attn.k_proj.bias"),
              Map.entry(LayerRole.VALUE_BIAS, "self_attn.v_proj.bias"),
              Map.entry(LayerRole.OUTPUT_BIAS, "self_attn.o_proj.bias"),
              Map.entry(LayerRole.QUERY_NORM, "self_attn.q_norm.weight"),
              Map.entry(LayerRole.KEY_NORM, "self_attn.k_norm.weight"),
              Map.entry(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_layernorm.weight"),
              Map.entry(LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, "post_attention_layernorm.bias"),
              Map.entry(LayerRole.GATE, "mlp.gate_proj.weight"),
              Map.entry(LayerRole.UP, "mlp.up_proj.weight"),
              Map.entry(LayerRole.DOWN, "mlp.down_proj.weight"),
              Map.entry(LayerRole.GATE_BIAS, "mlp.gate_proj.bias"),
              Map.entry(LayerRole.UP_BIAS, "mlp.up_proj.bias"),
              Map.entry(LayerRole.DOWN_BIAS, "mlp.down_proj.bias")),
          Map.of());

  /**
   * The names of {@link #LLAMA}, with a router and experts that are named like a Llama's network.
   */
  static final TensorNames LLAMA_EXPERTS =
      LLAMA
          .with(Map.of(LayerRole.ROUTER, "mlp.gate.weight"))
          .withExperts(
              Map.of(
                  LayerRole.GATE, "mlp.experts.{expert}.gate_proj.weight",
                  LayerRole.UP, "mlp.experts.{expert}.up_proj.weight",
                  LayerRole.DOWN, "mlp.experts.{expert}.down_proj.weight"));

  /** The names of experts whose matrices are in one tensor each, with a row for each output. */
  static final Map<LayerRole, String> STACKED_EXPERTS =
      Map.of(
          LayerRole.GATE, "mlp.experts.gate_up_proj",
          LayerRole.UP, "mlp.experts.gate_up_proj",
          LayerRole.DOWN, "mlp.experts.down_proj");

  TensorNames {
    suffixes = Map.copyOf(suffixes);
    experts = Map.copyOf(experts);
  }

  /** The same names, but for tensors of some roles. */
  TensorNames with(Map<LayerRole, String> others) {
    Map<LayerRole, String> all = new EnumMap<>(suffixes);
    all.putAll(others);
    return new TensorNames(layers, embedding, finalNorm, head, all, experts);
  }

  /** The same names without that of a role. */
  TensorNames without(LayerRole role) {
    Map<LayerRole, String> all = new EnumMap<>(suffixes);
    all.remove(role);
    return new TensorNames(layers, embedding, finalNorm, head, all, experts);
  }

  /** The same names, with those of a mixture of experts. */
  TensorNames withExperts(Map<LayerRole, String> ofExpert) {
    return new TensorNames(layers, embedding, finalNorm, head, suffixes, ofExpert);
  }

  /**
   * The same names with other norms of the residual stream; roles that are left out do not exist.
   */
  TensorNames withNorms(Map<LayerRole, String> norms) {
    Map<LayerRole, String> all = new EnumMap<>(suffixes);
    NORMS.forEach(all::remove);
    all.putAll(norms);
    return new TensorNames(layers, embedding, finalNorm, head, all, experts);
  }

  /** The same names in a checkpoint that has the layers, the final norm and the head elsewhere. */
  TensorNames renamed(UnaryOperator<String> change) {
    return new TensorNames(
        change.apply(layers),
        change.apply(embedding),
        change.apply(finalNorm),
        change.apply(head),
        suffixes,
        experts);
  }

  /** The final norm's bias, in the families that have one. */
  String finalNormBias() {
    return finalNorm.replaceFirst("weight$", "bias");
  }

  /** Whether layers have a tensor of this role by this name. */
  boolean has(LayerRole role) {
    return suffixes.containsKey(role);
  }

  /** Whether each expert of a mixture has a tensor, or rows of one, of this role. */
  boolean expertsHave(LayerRole role) {
    return experts.containsKey(role);
  }

  /** The name of the tensor of a layer that has this suffix. */
  String of(int layer, String suffix) {
    return layers + layer + "." + suffix;
  }

  /** The name of a tensor of a layer in another layer. */
  String moved(String name, int layer) {
    return of(layer, name.substring(name.indexOf('.', layers.length()) + 1));
  }

  /**
   * What stands behind the number of a layer.
   *
   * @param expert index of an expert, or {@link LayerPart#NO_EXPERT}
   */
  String suffix(LayerRole role, int expert) {
    String suffix = expert == LayerPart.NO_EXPERT ? suffixes.get(role) : experts.get(role);
    if (suffix == null) {
      throw new IllegalStateException("no name for " + role);
    }
    return suffix.replace(EXPERT, Integer.toString(expert));
  }

  /** Whether one tensor has the rows that have this role in all experts. */
  boolean isOfAllExperts(LayerRole role) {
    String suffix = experts.get(role);
    return suffix != null && !suffix.contains(EXPERT);
  }

  /** The layer that a tensor of this name belongs to; empty where it is outside the layers. */
  OptionalInt layerOf(String name) {
    int end = name.indexOf('.', layers.length());
    if (!name.startsWith(layers) || end < 0) {
      return OptionalInt.empty();
    }
    String index = name.substring(layers.length(), end);
    boolean number =
        !index.isEmpty()
            && index.length() <= MOST_DIGITS
            && index.chars().allMatch(c -> c >= '0' && c <= '9');
    return number ? OptionalInt.of(Integer.parseInt(index)) : OptionalInt.empty();
  }
}
