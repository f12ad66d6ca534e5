package dev.laco.model;

import dev.laco.model.TensorSpec.Part;
import java.util.List;
import java.util.Locale;

/**
 * The names of tensors in GGUF files, which are the same in all families, as llama.cpp's converter
 * writes them.
 */
public final class GgufNames {
  /** The token embedding. */
  public static final String EMBEDDING = "token_embd.weight";

  /** The final norm's weight. */
  public static final String FINAL_NORM = "output_norm.weight";

  /** The output projection; absent where it is tied to the embedding. */
  public static final String HEAD = "output.weight";

  /**
   * The factors by which frequencies of the rotary embedding are divided; absent where all are 1.
   */
  public static final String ROPE_FACTORS = "rope_freqs.weight";

  private GgufNames() {}

  /** The name of a tensor of layer {@code layer}. */
  public static String of(int layer, TensorSpec spec) {
    List<LayerRole> roles = spec.parts().stream().map(Part::role).toList();
    return String.format(
        Locale.ROOT, "blk.%d.%s", layer, roles.size() == 1 ? of(roles.getFirst()) : ofFused(roles));
  }

  private static String ofFused(List<LayerRole> roles) {
    if (roles.equals(List.of(LayerRole.QUERY, LayerRole.KEY, LayerRole.VALUE))) {
      return "attn_qkv.weight";
    }
    if (roles.equals(List.of(LayerRole.GATE, LayerRole.UP))) {
      return "ffn_up.weight";
    }
    throw new IllegalArgumentException("GGUF has no tensor of " + roles);
  }

  private static String of(LayerRole role) {
    return switch (role) {
      case ATTENTION_INPUT_NORM -> "attn_norm.weight";
      case QUERY -> "attn_q.weight";
      case KEY -> "attn_k.weight";
      case VALUE -> "attn_v.weight";
      case OUTPUT -> "attn_output.weight";
      case QUERY_BIAS -> "attn_q.bias";
      case KEY_BIAS -> "attn_k.bias";
      case VALUE_BIAS -> "attn_v.bias";
      case OUTPUT_BIAS -> "attn_output.bias";
      case QUERY_NORM -> "attn_q_norm.weight";
      case KEY_NORM -> "attn_k_norm.weight";
      case ATTENTION_OUTPUT_NORM -> "post_attention_norm.weight";
      case FEED_FORWARD_INPUT_NORM -> "ffn_norm.weight";
      case GATE -> "ffn_gate.weight";
      case UP -> "ffn_up.weight";
      case DOWN -> "ffn_down.weight";
      case FEED_FORWARD_OUTPUT_NORM -> "post_ffw_norm.weight";
      case GATE_BIAS -> "ffn_gate.bias";
      case UP_BIAS -> "ffn_up.bias";
      case DOWN_BIAS -> "ffn_down.bias";
      case ATTENTION_INPUT_NORM_BIAS,
          FEED_FORWARD_INPUT_NORM_BIAS,
          QUERY_KEY_VALUE,
          QUERY_KEY_VALUE_BIAS,
          ROUTER,
          SHARED_ROUTER,
          SHARED_GATE,
          SHARED_UP,
          SHARED_DOWN ->
          throw new IllegalArgumentException("no family with " + role + " is read from GGUF");
    };
  }
}
