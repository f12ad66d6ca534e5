package dev.laco.model;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SequencedMap;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;

/**
 * A family of models: its names in {@code config.json}, the parts of its layers, the names of its
 * tensors, and the values of keys that a config leaves out. Every family has a file of its own in
 * this package, which describes the family, and a line in {@link Families}.
 *
 * <p>Layers have what {@link Builder} begins with, unless the family says otherwise: they are those
 * of Llama (Touvron et al. 2023), RMS norms before rotary attention and before a gated feed-forward
 * network.
 */
public final class Architecture {
  /** Whether projections have biases. */
  enum Biases {
    NEVER,
    ALWAYS,
    /** Where {@code attention_bias} is true, or {@code mlp_bias} for the feed-forward network. */
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

  private final Builder parts;

  private Architecture(Builder parts) {
    this.parts = parts;
  }

  /** Begins the description of a family by its class name and its {@code model_type}. */
  static Builder named(String className, String modelType) {
    return new Builder(className, modelType);
  }

  /** Every family, in the order in which lists name them. */
  public static List<Architecture> all() {
    return Families.ALL;
  }

  /**
   * The family for an entry of {@code architectures} in {@code config.json}, whatever its case: the
   * first conversions of Llama wrote {@code LLaMAForCausalLM}.
   */
  public static Optional<Architecture> forClassName(String className) {
    return all().stream().filter(a -> a.className().equalsIgnoreCase(className)).findFirst();
  }

  /**
   * The family of a GGUF file with this {@code general.architecture}; the first of {@link #all}
   * where several have the same.
   */
  public static Optional<Architecture> forGguf(String name) {
    return all().stream().filter(a -> a.ggufName().equals(Optional.of(name))).findFirst();
  }

  /** The parts of a family, beginning with those of a Llama without biases. */
  static final class Builder {
    private final String className;
    private final String modelType;
    private TensorNames names = TensorNames.LLAMA;
    private Biases queryKeyValueBias = Biases.NEVER;
    private Biases outputBias = Biases.NEVER;
    private Biases feedForwardBias = Biases.NEVER;
    private boolean queryKeyNorm;
    private Windows windows = Windows.NONE;
    private ToDoubleFunction<JsonFields> embeddingScale = config -> 1;
    private ToDoubleFunction<JsonFields> residualScale = config -> 1;
    private Optional<ToDoubleFunction<JsonFields>> attentionScale = Optional.empty();
    private Function<JsonFields, LogitSpec> logits = config -> LogitSpec.PLAIN;
    private OptionalInt defaultHeadDim = OptionalInt.empty();
    private RopeParameters.Rotates rotates = RopeParameters.Rotates.WHOLE_HEADS;
    private int defaultPositions = 2048;

    private Optional<String> ggufName = Optional.empty();
    private boolean ggufRowsInterleaved;

    private Builder(String className, String modelType) {
      this.className = className;
      this.modelType = modelType;
    }

    /** The names of the tensors, where they are not those of Llama. */
    Builder names(TensorNames ofFamily) {
      names = ofFamily;
      return this;
    }

    /** Biases of the query, key and value projections, and of attention's output projection. */
    Builder attentionBiases(Biases queryKeyValue, Biases output) {
      queryKeyValueBias = queryKeyValue;
      outputBias = output;
      return this;
    }

    /** Biases of the gate, up and down projections. */
    Builder feedForwardBiases(Biases biases) {
      feedForwardBias = biases;
      return this;
    }

    /** Queries and keys of each head have an RMS norm before their rotation. */
    Builder queryKeyNorm() {
      queryKeyNorm = true;
      return this;
    }

    Builder windows(Windows which) {
      windows = which;
      return this;
    }

    /** The factor on token embeddings. */
    Builder embeddingScale(ToDoubleFunction<JsonFields> scale) {
      embeddingScale = scale;
      return this;
    }

    /** The factor on what attention and feed-forward network add to the residual stream. */
    Builder residualScale(ToDoubleFunction<JsonFields> scale) {
      residualScale = scale;
      return this;
    }

    /** The factor on attention scores; without this call it is {@code 1 / sqrt(head_dim)}. */
    Builder attentionScale(ToDoubleFunction<JsonFields> scale) {
      attentionScale = Optional.of(scale);
      return this;
    }

    /** What becomes of the products of last hidden states and output projection. */
    Builder logits(Function<JsonFields, LogitSpec> spec) {
      logits = spec;
      return this;
    }

    /**
     * {@code head_dim} where the config has none; without this call it is {@code hidden_size /
     * num_attention_heads}.
     */
    Builder defaultHeadDim(int width) {
      defaultHeadDim = OptionalInt.of(width);
      return this;
    }

    /** Which part of a head is rotated. */
    Builder rotates(RopeParameters.Rotates which) {
      rotates = which;
      return this;
    }

    /** {@code max_position_embeddings} where the config has none. */
    Builder defaultPositions(int positions) {
      defaultPositions = positions;
      return this;
    }

    /** {@code general.architecture} of the family's GGUF files. */
    Builder gguf(String name) {
      ggufName = Optional.of(name);
      return this;
    }

    /**
     * In GGUF files the rows of query and key projections have another order. A head of {@code w}
     * rows is rotated in pairs: here row {@code i} with row {@code i + w / 2}, there row {@code 2
     * i} with row {@code 2 i + 1}.
     */
    Builder ggufRowsInterleaved() {
      ggufRowsInterleaved = true;
      return this;
    }

    Architecture build() {
      return new Architecture(this);
    }
  }

  /** The class name in {@code config.json}. */
  public String className() {
    return parts.className;
  }

  /** {@code model_type} in {@code config.json}. */
  public String modelType() {
    return parts.modelType;
  }

  /** {@code general.architecture} of the family's GGUF files; empty where GGUF is not supported. */
  public Optional<String> ggufName() {
    return parts.ggufName;
  }

  /**
   * The heads whose rows a GGUF file interleaves in a tensor (see {@link
   * Builder#ggufRowsInterleaved}); 0 where the rows have the same order.
   */
  public int ggufInterleavedHeads(ModelConfig config, TensorSpec spec) {
    if (!parts.ggufRowsInterleaved) {
      return 0;
    }
    return switch (spec.parts().getFirst().role()) {
      case QUERY, QUERY_BIAS -> config.numAttentionHeads();
      case KEY, KEY_BIAS -> config.numKeyValueHeads();
      default -> 0;
    };
  }

  Biases queryKeyValueBias() {
    return parts.queryKeyValueBias;
  }

  Biases outputBias() {
    return parts.outputBias;
  }

  Biases feedForwardBias() {
    return parts.feedForwardBias;
  }

  Windows windows() {
    return parts.windows;
  }

  double embeddingScale(JsonFields config) {
    return parts.embeddingScale.applyAsDouble(config);
  }

  double residualScale(JsonFields config) {
    return parts.residualScale.applyAsDouble(config);
  }

  LogitSpec attentionScores(JsonFields config, int headDim) {
    double scale =
        parts.attentionScale.map(of -> of.applyAsDouble(config)).orElse(1 / Math.sqrt(headDim));
    return new LogitSpec(scale, 0);
  }

  LogitSpec logits(JsonFields config) {
    return parts.logits.apply(config);
  }

  OptionalInt defaultHeadDim() {
    return parts.defaultHeadDim;
  }

  RopeParameters.Rotates rotates() {
    return parts.rotates;
  }

  int defaultPositions() {
    return parts.defaultPositions;
  }

  /** Name of a tensor of layer {@code layer}. */
  public String tensorName(int layer, TensorSpec spec) {
    return parts.names.of(layer, spec.suffix());
  }

  /** Names of all tensors of layer {@code layer}. */
  public List<String> tensorNames(int layer, ModelConfig config) {
    return layerTensors(config).stream().map(spec -> tensorName(layer, spec)).toList();
  }

  /** The layer that a tensor of this name belongs to; empty where it is outside the layers. */
  public OptionalInt layerOf(String tensorName) {
    return parts.names.layerOf(tensorName);
  }

  /** Name of the token embedding, {@code [V, d]}. */
  public String embedding() {
    return parts.names.embedding();
  }

  /** Name of the final norm's weight, {@code [d]}. */
  public String finalNorm() {
    return parts.names.finalNorm();
  }

  /** Name of the output projection, {@code [V, d]}; absent where it is tied to the embedding. */
  public String head() {
    return parts.names.head();
  }

  /** The tensors of a layer, in the order in which a forward pass first uses them. */
  public List<TensorSpec> layerTensors(ModelConfig config) {
    long hidden = config.hiddenSize();
    long queries = (long) config.numAttentionHeads() * config.headDim();
    long keys = (long) config.numKeyValueHeads() * config.headDim();
    long inner = config.intermediateSize();
    Stored tensors = new Stored(parts.names);
    tensors.vector(LayerRole.INPUT_NORM, hidden);
    tensors.matrix(LayerRole.QUERY, queries, hidden);
    tensors.matrix(LayerRole.KEY, keys, hidden);
    tensors.matrix(LayerRole.VALUE, keys, hidden);
    tensors.matrix(LayerRole.OUTPUT, hidden, queries);
    if (config.queryKeyValueBias()) {
      tensors.vector(LayerRole.QUERY_BIAS, queries);
      tensors.vector(LayerRole.KEY_BIAS, keys);
      tensors.vector(LayerRole.VALUE_BIAS, keys);
    }
    if (config.outputBias()) {
      tensors.vector(LayerRole.OUTPUT_BIAS, hidden);
    }
    if (parts.queryKeyNorm) {
      tensors.vector(LayerRole.QUERY_NORM, config.headDim());
      tensors.vector(LayerRole.KEY_NORM, config.headDim());
    }
    tensors.vector(LayerRole.POST_ATTENTION_NORM, hidden);
    tensors.matrix(LayerRole.GATE, inner, hidden);
    tensors.matrix(LayerRole.UP, inner, hidden);
    tensors.matrix(LayerRole.DOWN, hidden, inner);
    if (config.mlpBias()) {
      tensors.vector(LayerRole.GATE_BIAS, inner);
      tensors.vector(LayerRole.UP_BIAS, inner);
      tensors.vector(LayerRole.DOWN_BIAS, hidden);
    }
    return tensors.list();
  }

  /** The tensor of a layer that has this role, alone or among others. */
  public TensorSpec layerTensor(ModelConfig config, LayerRole role) {
    return layerTensors(config).stream().filter(spec -> spec.has(role)).findFirst().orElseThrow();
  }

  /** The tensors of a layer while they are listed: roles of one name become rows of one tensor. */
  private static final class Stored {
    private final TensorNames names;
    private final SequencedMap<String, TensorSpec> bySuffix = new LinkedHashMap<>();

    Stored(TensorNames names) {
      this.names = names;
    }

    void vector(LayerRole role, long elements) {
      add(role, elements, List.of());
    }

    void matrix(LayerRole role, long rows, long columns) {
      add(role, rows, List.of(columns));
    }

    private void add(LayerRole role, long rows, List<Long> columns) {
      String suffix = names.suffix(role);
      TensorSpec before = bySuffix.get(suffix);
      long from = before == null ? 0 : before.shape().getFirst();
      List<Long> shape = new ArrayList<>(columns);
      shape.addFirst(from + rows);
      List<TensorSpec.Part> parts = new ArrayList<>(before == null ? List.of() : before.parts());
      parts.add(new TensorSpec.Part(role, from, from + rows));
      bySuffix.put(suffix, new TensorSpec(suffix, shape, parts));
    }

    List<TensorSpec> list() {
      return List.copyOf(bySuffix.values());
    }
  }
}
