package dev.laco.model;

/** Ministral (Mistral AI 2024): a Mistral whose config says which layers have windows. */
final class Ministral {
  static final Architecture FAMILY =
      Architecture.named("MinistralForCausalLM", "ministral")
          .window(Ministral::window)
          .slidingLayers((config, layer) -> window(config) > 0)
          .defaultKeyValueHeads(8)
          .defaultPositions(131072)
          .unknownTo(Loader.VLLM)
          .gguf(GgufFamily.named("llama").rowsInterleaved().biases(GgufFamily.Biases.ALL))
          .build();

  private Ministral() {}

  private static int window(JsonFields config) {
    return config.positiveOrNull("sliding_window", 4096);
  }
}
