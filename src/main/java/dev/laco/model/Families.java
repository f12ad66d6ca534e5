package dev.laco.model;

import java.util.List;

/** All families, in the order in which lists name them. */
final class Families {
  static final List<Architecture> ALL =
      List.of(
          Llama.FAMILY,
          Mistral.FAMILY,
          Qwen2.FAMILY,
          Qwen3.FAMILY,
          Phi3.FAMILY,
          Granite.FAMILY,
          SmolLm3.FAMILY,
          Baichuan.FAMILY,
          InternLm2.FAMILY,
          Glm.FAMILY,
          Glm4.FAMILY,
          Gemma.FAMILY,
          Gemma2.FAMILY,
          Gemma3.FAMILY,
          Olmo2.FAMILY,
          Olmo3.FAMILY,
          Exaone4.FAMILY,
          Cohere.FAMILY,
          Cohere2.FAMILY,
          GptNeoX.FAMILY,
          StableLm.FAMILY,
          Falcon.FAMILY,
          StarCoder2.FAMILY,
          Mixtral.FAMILY,
          Qwen3Moe.FAMILY,
          Olmoe.FAMILY,
          Qwen2Moe.FAMILY,
          GraniteMoe.FAMILY);

  private Families() {}
}
