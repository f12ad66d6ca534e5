package dev.laco.model;

import java.util.Map;

/**
 * Multi-head latent attention (DeepSeek-V2, 2024, arXiv 2405.04434, section 2.1). Keys and values
 * of all heads are projected from one latent vector a token, which has few elements; so are
 * queries, where they have a latent vector of their own. The last elements of a head's query are
 * rotated, and those of its key are the same for all heads. The engine computes keys and values of
 * every head.
 *
 * @param queryRank elements of the latent vector of queries; 0 where queries have none
 * @param rank elements of the latent vector of keys and values
 * @param unrotated elements of a head's query, and of its key, that are not rotated
 * @param rotated elements that are; an even number
 * @param value elements of a head's value, at most as many as those of its query
 */
public record LatentAttention(int queryRank, int rank, int unrotated, int rotated, int value) {
  /** The names of its tensors in checkpoints. */
  static final Map<LayerRole, String> NAMES =
      Map.of(
          LayerRole.QUERY_COMPRESSION, "self_attn.q_a_proj.weight",
          LayerRole.QUERY_LATENT_NORM, "self_attn.q_a_layernorm.weight",
          LayerRole.QUERY_EXPANSION, "self_attn.q_b_proj.weight",
          LayerRole.KEY_VALUE_COMPRESSION, "self_attn.kv_a_proj_with_mqa.weight",
          LayerRole.ROTATED_KEY, "self_attn.kv_a_proj_with_mqa.weight",
          LayerRole.KEY_VALUE_LATENT_NORM, "self_attn.kv_a_layernorm.weight",
          LayerRole.KEY_VALUE_EXPANSION, "self_attn.kv_b_proj.weight");

  /** The epsilon of norms of latent vectors, which no config says. */
  public static final double EPS = 1e-6;

  /** Elements of a head's query. */
  public int query() {
    return unrotated + rotated;
  }

  /** Whether values have fewer elements than queries. */
  public boolean hasNarrowValues() {
    return value < query();
  }

  /**
   * Reads the sizes of a config.
   *
   * @param defaults those of the family, for keys that the config does not have; a value of 0
   *     stands for {@code hidden_size / num_attention_heads}
   * @throws dev.laco.BadInputException if a field is wrong
   */
  static LatentAttention read(JsonFields config, LatentAttention defaults) {
    LatentAttention sizes =
        new LatentAttention(
            config.positiveOrNull("q_lora_rank", defaults.queryRank),
            config.positiveOr("kv_lora_rank", defaults.rank),
            config.positiveOr("qk_nope_head_dim", defaults.unrotated),
            config.positiveOr("qk_rope_head_dim", defaults.rotated),
            value(config, defaults));
    if (sizes.rotated % 2 != 0) {
      throw config.error("qk_rope_head_dim", "an even number, for rotary embedding");
    }
    if (sizes.value > sizes.query()) {
      throw config.error(
          "v_head_dim", "at most qk_nope_head_dim + qk_rope_head_dim, " + sizes.query());
    }
    return sizes;
  }

  private static int value(JsonFields config, LatentAttention defaults) {
    return config
        .positive("v_head_dim")
        .orElseGet(
            () ->
                defaults.value > 0
                    ? defaults.value
                    : config.requiredPositive("hidden_size")
                        / config.requiredPositive("num_attention_heads"));
  }

  /**
   * What becomes of the products of queries and keys: they are multiplied by {@code 1 /
   * sqrt(query)}, and where the context is stretched by {@code (1 + 0.1 m ln(factor))^2}, too, with
   * {@code m} the config's {@code mscale_all_dim}.
   */
  LogitSpec scores(JsonFields config) {
    double stretched = RopeParameters.yarnScale(config, "mscale_all_dim");
    return new LogitSpec(stretched * stretched / Math.sqrt(query()), 0);
  }
}
