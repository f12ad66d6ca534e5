package dev.laco.model;

/**
 * MiniCPM3 (OpenBMB 2024): the attention of DeepSeek-V2, and factors on embeddings, on what layers
 * add, and on logits (MiniCPM, arXiv 2404.06395, section 3.1).
 */
final class MiniCpm3 {
  /** The key of the factor on what layers add, times the root of their number. */
  static final String DEPTH_SCALE = "scale_depth";

  static final Architecture FAMILY =
      Architecture.named("MiniCPM3ForCausalLM", "minicpm3")
          .names(TensorNames.LLAMA.with(LatentAttention.NAMES))
          .latentAttention(new LatentAttention(768, 256, 64, 32, 0))
          .embeddingScale(config -> config.positiveNumberOr("scale_emb", 12))
          .residualScale(MiniCpm3::residualScale)
          .logits(MiniCpm3::logits)
          .without("attention_bias")
          .without("mlp_bias")
          .tiedByDefault()
          .defaultEps(1e-5)
          .defaultPositions(32768)
          .build();

  private MiniCpm3() {}

  private static double residualScale(JsonFields config) {
    double root = Math.sqrt(config.requiredPositive("num_hidden_layers"));
    return isNull(config, DEPTH_SCALE) ? 1 : config.positiveNumberOr(DEPTH_SCALE, 1.4) / root;
  }

  private static LogitSpec logits(JsonFields config) {
    double hidden = config.requiredPositive("hidden_size");
    double scale =
        isNull(config, "dim_model_base") ? 1 : config.positiveOr("dim_model_base", 256) / hidden;
    return new LogitSpec(scale, 0);
  }

  private static boolean isNull(JsonFields config, String key) {
    return config.node().path(key).isNull();
  }
}
