package dev.laco.model;

import java.util.List;
import java.util.Map;

/** All families, in the order in which lists name them. */
final class Families {
  static final List<Architecture> ALL =
      List.of(
          Llama.FAMILY,
          Mistral.FAMILY,
          Ministral.FAMILY,
          Ministral3.FAMILY,
          Qwen2.FAMILY,
          Qwen3.FAMILY,
          Phi3.FAMILY,
          Granite.FAMILY,
          SmolLm3.FAMILY,
          Baichuan.FAMILY,
          InternLm2.FAMILY,
          InternLm3.FAMILY,
          Glm.FAMILY,
          Glm4.FAMILY,
          Gemma.FAMILY,
          Gemma2.FAMILY,
          Gemma3.FAMILY,
          VaultGemma.FAMILY,
          Olmo2.FAMILY,
          Olmo3.FAMILY,
          Exaone4.FAMILY,
          Cohere.FAMILY,
          Cohere2.FAMILY,
          GptNeoX.FAMILY,
          StableLm.FAMILY,
          Falcon.FAMILY,
          StarCoder2.FAMILY,
          Nemotron.FAMILY,
          Arcee.FAMILY,
          Jais2.FAMILY,
          SeedOss.FAMILY,
          Ernie45.FAMILY,
          Cwm.FAMILY,
          Helium.FAMILY,
          HyperClovaX.FAMILY,
          HunYuanDense.FAMILY,
          MiniCpm3.FAMILY,
          Youtu.FAMILY,
          GraniteMoeHybrid.FAMILY,
          Qwen35.FAMILY,
          Lfm2.FAMILY,
          Mixtral.FAMILY,
          Qwen3Moe.FAMILY,
          Olmoe.FAMILY,
          Qwen2Moe.FAMILY,
          GraniteMoe.FAMILY,
          GptOss.FAMILY,
          Glm4Moe.FAMILY,
          Dots1.FAMILY,
          SolarOpen.FAMILY,
          MiniMaxM2.FAMILY,
          Ernie45Moe.FAMILY,
          DeepseekV2.FAMILY,
          DeepseekV3.FAMILY,
          Glm4MoeLite.FAMILY,
          Qwen35Moe.FAMILY,
          Qwen3Next.FAMILY,
          Lfm2Moe.FAMILY);

  /**
   * What the engine does not compute of families that are known and not in {@link #ALL}, by the
   * class name in {@code config.json}.
   */
  static final Map<String, String> NOT_COMPUTED =
      Map.of("DeepseekV32ForCausalLM", "its attention chooses tokens by an indexer");

  private Families() {}
}
