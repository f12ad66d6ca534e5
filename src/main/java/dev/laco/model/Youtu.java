package dev.laco.model;

/** Youtu-LLM (Tencent 2025, arXiv 2512.24618): a Llama with the attention of DeepSeek-V3. */
final class Youtu {
  static final Architecture FAMILY = DeepseekV3.byPairs(Youtu::family);

  private Youtu() {}

  private static Architecture.Builder family(RotaryPairs pairs) {
    return Architecture.named("YoutuForCausalLM", "youtu")
        .names(TensorNames.LLAMA.with(LatentAttention.NAMES))
        .latentAttention(DeepseekV2.SIZES)
        .rotaryPairs(pairs)
        .without("attention_bias")
        .gguf(DeepseekV2.FILES)
        .tiedByDefault()
        .unknownTo(Loader.VLLM)
        .defaultPositions(131072);
  }
}
