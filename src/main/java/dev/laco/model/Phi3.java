package dev.laco.model;

import dev.laco.model.RopeParameters.Rotates;
import java.util.Map;

/**
 * Phi-3 and Phi-4 (Abdin et al. 2024): one matrix of queries, keys and values, one of gate and up
 * projections; partial rotation and LongRoPE.
 */
final class Phi3 {
  private static final String QUERY_KEY_VALUE = "self_attn.qkv_proj.weight";
  private static final String GATE_UP = "mlp.gate_up_proj.weight";

  static final Architecture FAMILY =
      Architecture.named("Phi3ForCausalLM", "phi3")
          .names(
              TensorNames.LLAMA.with(
                  Map.of(
                      LayerRole.QUERY, QUERY_KEY_VALUE,
                      LayerRole.KEY, QUERY_KEY_VALUE,
                      LayerRole.VALUE, QUERY_KEY_VALUE,
                      LayerRole.GATE, GATE_UP,
                      LayerRole.UP, GATE_UP)))
          .window(config -> config.positiveOr("sliding_window", 0))
          .rotates(Rotates.BY_CONFIG)
          .defaultPositions(4096)
          .gguf(
              GgufFamily.named("phi3")
                  .headsInOne()
                  .gateWithUp()
                  .ignoresWindows(GgufFamily.WindowKey.ALWAYS)
                  .longRope())
          .build();

  private Phi3() {}
}
