package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Map;

/**
 * Hunyuan (Tencent 2025), the models without mixtures of experts: a Llama with norms of queries and
 * keys behind their rotation, whose base a factor stretches.
 */
final class HunYuanDense {
  static final Architecture FAMILY =
      Architecture.named("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense")
          .names(
              TensorNames.LLAMA.with(
                  Map.of(
                      LayerRole.QUERY_NORM, "self_attn.query_layernorm.weight",
                      LayerRole.KEY_NORM, "self_attn.key_layernorm.weight")))
          .queryKeyNorm(QueryKeyNorm.EACH_ROTATED_HEAD)
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .without("mlp_bias")
          .without("use_cla")
          .rotation((reader, slides) -> rotation(reader))
          .defaultEps(1e-5)
          .defaultPositions(2048)
          .gguf(GgufFamily.named("hunyuan-dense"))
          .build();

  private HunYuanDense() {}

  /** Configs say dynamic scaling, and by {@code alpha} that of a text of any length. */
  private static RopeParameters rotation(RopeParameters.Reader reader) {
    RopeParameters rotation = reader.read(10_000);
    if (!(rotation.scaling() instanceof RopeParameters.Dynamic)) {
      return rotation;
    }
    JsonFields config = reader.config();
    String key = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    JsonFields scaling = new JsonFields(config.file() + ": " + key, config.node().get(key));
    if (scaling.numberOr("alpha", 0) == 0) {
      return rotation;
    }
    double width = reader.headDim();
    double stretch = Math.pow(scaling.positiveNumberOr("alpha", 1), width / (width - 2));
    return new RopeParameters(
        rotation.theta() * stretch, rotation.share(), new RopeParameters.Default());
  }
}
