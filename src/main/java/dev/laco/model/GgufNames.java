package dev.laco.model;

import dev.laco.model.TensorSpec.Part;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.OptionalInt;
import java.util.SequencedMap;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

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

  /** The factors of LongRoPE for long sequences. */
  public static final String LONG_FACTORS = "rope_factors_long.weight";

  /** The factors of LongRoPE for short sequences. */
  public static final String SHORT_FACTORS = "rope_factors_short.weight";

  /** The names of all tensors that say how positions are rotated. */
  public static final Set<String> ALL_ROPE_FACTORS =
      Set.of(ROPE_FACTORS, LONG_FACTORS, SHORT_FACTORS);

  private static final String LAYER = "blk.";
  private static final Pattern IN_LAYER = Pattern.compile("blk\\.(\\d{1,5})\\..+");

  private GgufNames() {}

  /** All tensors that hold weights, in the order of a forward pass. */
  public static List<GgufWeight> all(ModelConfig config) {
    List<GgufWeight> outside = outside(config);
    List<GgufWeight> tensors = new ArrayList<>(outside.subList(0, 1));
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      tensors.addAll(layer(config, layer));
    }
    tensors.addAll(outside.subList(1, outside.size()));
    return List.copyOf(tensors);
  }

  /** The tensors outside the layers, the output projection only where it is not tied. */
  public static List<GgufWeight> outside(ModelConfig config) {
    Architecture architecture = config.architecture();
    long width = config.hiddenSize();
    List<Long> table = List.of((long) config.vocabSize(), width);
    List<GgufWeight> tensors = new ArrayList<>();
    tensors.add(plain(EMBEDDING, architecture.embedding(), table, 0));
    tensors.add(
        plain(FINAL_NORM, architecture.finalNorm(), List.of(width), architecture.normOffset()));
    if (!config.tieWordEmbeddings()) {
      tensors.add(plain(HEAD, architecture.head(), table, 0));
    }
    return List.copyOf(tensors);
  }

  private static GgufWeight plain(String name, String weight, List<Long> shape, double added) {
    return new GgufWeight(name, List.of(weight), shape, false, 0, added);
  }

  /** The tensors of layer {@code layer}. */
  public static List<GgufWeight> layer(ModelConfig config, int layer) {
    Architecture architecture = config.architecture();
    SequencedMap<String, GgufWeight> tensors = new LinkedHashMap<>();
    for (TensorSpec spec : architecture.layerTensors(config, layer)) {
      Part part = spec.parts().getFirst();
      boolean stacked = part.expert() != TensorSpec.NO_EXPERT;
      String name = inLayer(layer, suffix(spec, stacked));
      GgufWeight before = tensors.get(name);
      List<String> weights = new ArrayList<>(before == null ? List.of() : before.weights());
      weights.add(architecture.tensorName(layer, spec));
      tensors.put(
          name,
          new GgufWeight(
              name,
              weights,
              spec.shape(),
              stacked,
              architecture.ggufInterleavedHeads(config, spec),
              part.role().isNorm() ? architecture.normOffset() : 0));
    }
    return List.copyOf(tensors.values());
  }

  /** The name of a tensor of a layer. */
  public static String inLayer(int layer, String suffix) {
    return LAYER + layer + "." + suffix;
  }

  /** The layer that a tensor of this name belongs to; empty where it is outside the layers. */
  public static OptionalInt layerOf(String name) {
    Matcher matcher = IN_LAYER.matcher(name);
    return matcher.matches()
        ? OptionalInt.of(Integer.parseInt(matcher.group(1)))
        : OptionalInt.empty();
  }

  /** The name of a layer's tensor behind the number of the layer. */
  public static String suffixOf(String name) {
    return name.substring(name.indexOf('.', LAYER.length()) + 1);
  }

  private static String suffix(TensorSpec spec, boolean stacked) {
    List<LayerRole> roles = spec.parts().stream().map(Part::role).toList();
    if (roles.size() > 1) {
      return ofFused(roles);
    }
    String name = of(roles.getFirst());
    return stacked ? name.replace(".weight", "_exps.weight") : name;
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
      case ROUTER -> "ffn_gate_inp.weight";
      case SHARED_ROUTER -> "ffn_gate_inp_shexp.weight";
      case SHARED_GATE -> "ffn_gate_shexp.weight";
      case SHARED_UP -> "ffn_up_shexp.weight";
      case SHARED_DOWN -> "ffn_down_shexp.weight";
      case ATTENTION_INPUT_NORM_BIAS,
          FEED_FORWARD_INPUT_NORM_BIAS,
          QUERY_KEY_VALUE,
          QUERY_KEY_VALUE_BIAS ->
          throw new IllegalArgumentException("no family with " + role + " is read from GGUF");
    };
  }
}
