package dev.laco.model;

import java.util.Map;

/**
 * Linear attention of Gated DeltaNet (Yang et al. 2025, arXiv 2412.06464), which keeps a state of a
 * fixed size in the place of keys and values of all tokens. Queries, keys and values are sums of
 * those of the latest tokens, by a causal convolution of each column, behind which SiLU stands; the
 * outputs of each head have a norm and a gate.
 *
 * @param keyHeads heads of queries and keys
 * @param valueHeads heads of values, a multiple
 * @param key elements of a head's query, and of its key
 * @param value elements of a head's value
 * @param kernel tokens that the convolution sums
 */
public record LinearAttention(int keyHeads, int valueHeads, int key, int value, int kernel) {
  /** The names of its tensors in checkpoints, but for those of projections. */
  static final Map<LayerRole, String> NAMES =
      Map.of(
          LayerRole.CONVOLUTION, "linear_attn.conv1d.weight",
          LayerRole.LOG_DECAY, "linear_attn.A_log",
          LayerRole.DECAY_BIAS, "linear_attn.dt_bias",
          LayerRole.LINEAR_NORM, "linear_attn.norm.weight");

  /** The names of the projections of its input. */
  static final Map<LayerRole, String> PROJECTIONS =
      Map.of(
          LayerRole.LINEAR_HEADS, "linear_attn.in_proj_qkv.weight",
          LayerRole.LINEAR_GATE, "linear_attn.in_proj_z.weight",
          LayerRole.LINEAR_RATE, "linear_attn.in_proj_b.weight",
          LayerRole.LINEAR_DECAY, "linear_attn.in_proj_a.weight");

  /** Those names where {@link ModelConfig#linearHeadsByKey}. */
  static final Map<LayerRole, String> PROJECTIONS_BY_KEY_HEAD =
      Map.of(
          LayerRole.LINEAR_HEADS_GATE, "linear_attn.in_proj_qkvz.weight",
          LayerRole.LINEAR_RATE_DECAY, "linear_attn.in_proj_ba.weight");

  /** The name of its output projection, which has the role of attention's. */
  static final String OUTPUT = "linear_attn.out_proj.weight";

  /** Elements of the queries, keys and values of all heads of a token. */
  public long heads() {
    return 2L * keyHeads * key + values();
  }

  /** Elements of the values of all heads of a token, and of the outputs of heads. */
  public long values() {
    return (long) valueHeads * value;
  }

  /**
   * Multiplications and additions of a token: of what its keys read of the states, of what is
   * written to them, and of what its queries read.
   */
  public long operations() {
    return 6 * values() * key;
  }

  /** Heads of values that one head of queries and keys has. */
  public int valueHeadsOfKey() {
    return valueHeads / keyHeads;
  }

  /**
   * Reads the sizes of a config.
   *
   * @param defaults those of the family, for keys that the config does not have
   * @throws dev.laco.BadInputException if a field is wrong
   */
  static LinearAttention read(JsonFields config, LinearAttention defaults) {
    LinearAttention sizes =
        new LinearAttention(
            config.positiveOr("linear_num_key_heads", defaults.keyHeads),
            config.positiveOr("linear_num_value_heads", defaults.valueHeads),
            config.positiveOr("linear_key_head_dim", defaults.key),
            config.positiveOr("linear_value_head_dim", defaults.value),
            config.positiveOr("linear_conv_kernel_dim", defaults.kernel));
    if (sizes.valueHeads % sizes.keyHeads != 0) {
      throw config.error(
          "linear_num_value_heads", "a multiple of linear_num_key_heads, " + sizes.keyHeads);
    }
    return sizes;
  }
}
