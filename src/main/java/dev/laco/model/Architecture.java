package dev.laco.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A family of models: its names in {@code config.json} and the properties that its config does not
 * say.
 *
 * <p>All families share the layout of Llama (Touvron et al. 2023): pre-norm layers of rotary
 * attention and a gated feed-forward network, RMS norms, tensors named {@code
 * model.layers.<i>.<suffix>}.
 */
public enum Architecture {
  LLAMA(
      "LlamaForCausalLM",
      "llama",
      Biases.BY_CONFIG,
      Biases.BY_CONFIG,
      true,
      false,
      Windows.NONE,
      2048),
  MISTRAL(
      "MistralForCausalLM",
      "mistral",
      Biases.NEVER,
      Biases.NEVER,
      false,
      false,
      Windows.ALL_LAYERS,
      131072),
  QWEN2(
      "Qwen2ForCausalLM",
      "qwen2",
      Biases.ALWAYS,
      Biases.NEVER,
      false,
      false,
      Windows.BY_LAYER,
      32768),
  QWEN3(
      "Qwen3ForCausalLM",
      "qwen3",
      Biases.BY_CONFIG,
      Biases.BY_CONFIG,
      false,
      true,
      Windows.BY_LAYER,
      32768);

  private static final String LAYERS = "model.layers.";

  /** The most digits of a layer's index that always fit an int. */
  private static final int MOST_DIGITS = 9;

  /**
   * Whether projections of attention have biases: {@code BY_CONFIG} follows {@code attention_bias}.
   */
  enum Biases {
    NEVER,
    ALWAYS,
    BY_CONFIG;

    boolean present(boolean configured) {
      return this == ALWAYS || (this == BY_CONFIG && configured);
    }
  }

  /** Which layers attend only to the latest {@code sliding_window} positions. */
  enum Windows {
    NONE,
    ALL_LAYERS,
    /**
     * The layers that {@code layer_types} names; where the config has no {@code layer_types}, the
     * layers from {@code max_window_layers} on if {@code use_sliding_window} is set.
     */
    BY_LAYER
  }

  private final String className;
  private final String modelType;
  private final Biases queryKeyValueBias;
  private final Biases outputBias;
  private final boolean mlpBiasByConfig;
  private final boolean queryKeyNorm;
  private final Windows windows;
  private final int defaultPositions;

  Architecture(
      String className,
      String modelType,
      Biases queryKeyValueBias,
      Biases outputBias,
      boolean mlpBiasByConfig,
      boolean queryKeyNorm,
      Windows windows,
      int defaultPositions) {
    this.className = className;
    this.modelType = modelType;
    this.queryKeyValueBias = queryKeyValueBias;
    this.outputBias = outputBias;
    this.mlpBiasByConfig = mlpBiasByConfig;
    this.queryKeyNorm = queryKeyNorm;
    this.windows = windows;
    this.defaultPositions = defaultPositions;
  }

  /**
   * The descriptor for an entry of {@code architectures} in {@code config.json}, whatever its case:
   * the first conversions of Llama wrote {@code LLaMAForCausalLM}.
   */
  public static Optional<Architecture> forClassName(String className) {
    return Arrays.stream(values()).filter(a -> a.className.equalsIgnoreCase(className)).findFirst();
  }

  /** The class name in {@code config.json}. */
  public String className() {
    return className;
  }

  /** {@code model_type} in {@code config.json}. */
  public String modelType() {
    return modelType;
  }

  Biases queryKeyValueBias() {
    return queryKeyValueBias;
  }

  Biases outputBias() {
    return outputBias;
  }

  boolean mlpBiasByConfig() {
    return mlpBiasByConfig;
  }

  Windows windows() {
    return windows;
  }

  int defaultPositions() {
    return defaultPositions;
  }

  /** Whether queries and keys of each head have an RMS norm before their rotation. */
  public boolean queryKeyNorm() {
    return queryKeyNorm;
  }

  /** Name of a tensor of layer {@code layer}. */
  public String tensorName(int layer, TensorSpec spec) {
    return LAYERS + layer + "." + spec.suffix();
  }

  /** Names of all tensors of layer {@code layer}. */
  public List<String> tensorNames(int layer, ModelConfig config) {
    return layerTensors(config).stream().map(spec -> tensorName(layer, spec)).toList();
  }

  /** The layer that a tensor of this name belongs to; empty where it is outside the layers. */
  public OptionalInt layerOf(String tensorName) {
    int end = tensorName.indexOf('.', LAYERS.length());
    if (!tensorName.startsWith(LAYERS) || end < 0) {
      return OptionalInt.empty();
    }
    String index = tensorName.substring(LAYERS.length(), end);
    boolean number =
        !index.isEmpty()
            && index.length() <= MOST_DIGITS
            && index.chars().allMatch(c -> c >= '0' && c <= '9');
    return number ? OptionalInt.of(Integer.parseInt(index)) : OptionalInt.empty();
  }

  /** Name of the token embedding, {@code [V, d]}. */
  public String embedding() {
    return "model.embed_tokens.weight";
  }

  /** Name of the final norm's weight, {@code [d]}. */
  public String finalNorm() {
    return "model.norm.weight";
  }

  /** Name of the output projection, {@code [V, d]}; absent where it is tied to the embedding. */
  public String head() {
    return "lm_head.weight";
  }

  /** The tensors of a layer, with role, name and shape. */
  public List<TensorSpec> layerTensors(ModelConfig config) {
    long hidden = config.hiddenSize();
    long queries = (long) config.numAttentionHeads() * config.headDim();
    long keys = (long) config.numKeyValueHeads() * config.headDim();
    long inner = config.intermediateSize();
    List<TensorSpec> specs = new ArrayList<>();
    vector(specs, LayerRole.INPUT_NORM, "input_layernorm.weight", hidden);
    matrix(specs, LayerRole.QUERY, "self_attn.q_proj.weight", queries, hidden);
    matrix(specs, LayerRole.KEY, "self_attn.k_proj.weight", keys, hidden);
    matrix(specs, LayerRole.VALUE, "self_attn.v_proj.weight", keys, hidden);
    matrix(specs, LayerRole.OUTPUT, "self_attn.o_proj.weight", hidden, queries);
    if (config.queryKeyValueBias()) {
      vector(specs, LayerRole.QUERY_BIAS, "self_attn.q_proj.bias", queries);
      vector(specs, LayerRole.KEY_BIAS, "self_attn.k_proj.bias", keys);
      vector(specs, LayerRole.VALUE_BIAS, "self_attn.v_proj.bias", keys);
    }
    if (config.outputBias()) {
      vector(specs, LayerRole.OUTPUT_BIAS, "self_attn.o_proj.bias", hidden);
    }
    if (queryKeyNorm) {
      vector(specs, LayerRole.QUERY_NORM, "self_attn.q_norm.weight", config.headDim());
      vector(specs, LayerRole.KEY_NORM, "self_attn.k_norm.weight", config.headDim());
    }
    vector(specs, LayerRole.POST_ATTENTION_NORM, "post_attention_layernorm.weight", hidden);
    matrix(specs, LayerRole.GATE, "mlp.gate_proj.weight", inner, hidden);
    matrix(specs, LayerRole.UP, "mlp.up_proj.weight", inner, hidden);
    matrix(specs, LayerRole.DOWN, "mlp.down_proj.weight", hidden, inner);
    if (config.mlpBias()) {
      vector(specs, LayerRole.GATE_BIAS, "mlp.gate_proj.bias", inner);
      vector(specs, LayerRole.UP_BIAS, "mlp.up_proj.bias", inner);
      vector(specs, LayerRole.DOWN_BIAS, "mlp.down_proj.bias", hidden);
    }
    return List.copyOf(specs);
  }

  private static void vector(List<TensorSpec> specs, LayerRole role, String suffix, long width) {
    specs.add(new TensorSpec(role, suffix, List.of(width)));
  }

  private static void matrix(
      List<TensorSpec> specs, LayerRole role, String suffix, long out, long in) {
    specs.add(new TensorSpec(role, suffix, List.of(out, in)));
  }
}
