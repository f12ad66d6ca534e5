package dev.laco.model;

import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.TensorSpec.Part;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
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

  /** The final norm's bias, in families that have one. */
  public static final String FINAL_NORM_BIAS = "output_norm.bias";

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
    tensors.add(plain(EMBEDDING, architecture.embedding(), table, 0, false));
    List<Long> norm = List.of(width);
    tensors.add(
        plain(FINAL_NORM, architecture.finalNorm(), norm, architecture.normOffset(), false));
    architecture
        .finalNormBias()
        .ifPresent(bias -> tensors.add(plain(FINAL_NORM_BIAS, bias, norm, 0, false)));
    if (!config.tieWordEmbeddings()) {
      tensors.add(plain(HEAD, architecture.head(), table, 0, config.unitHead()));
    }
    return List.copyOf(tensors);
  }

  private static GgufWeight plain(
      String name, String weight, List<Long> shape, double added, boolean unitRows) {
    long rows = shape.getFirst();
    return new GgufWeight(
        name, shape, List.of(Rows.of(weight, shape, 0, 1, rows, rows, 0)), added, unitRows);
  }

  /** The tensors of layer {@code layer}. */
  public static List<GgufWeight> layer(ModelConfig config, int layer) {
    Architecture architecture = config.architecture();
    SequencedMap<String, Made> tensors = new LinkedHashMap<>();
    for (TensorSpec spec : architecture.layerTensors(config, layer)) {
      String weight = architecture.tensorName(layer, spec);
      for (Part part : spec.parts()) {
        for (Map.Entry<LayerRole, Rows> held : rows(config, weight, spec, part).entrySet()) {
          boolean stacked = part.expert() != LayerPart.NO_EXPERT;
          String name = inLayer(layer, suffix(config, held.getKey(), stacked));
          tensors.computeIfAbsent(name, n -> new Made(held.getKey(), stacked)).add(held.getValue());
        }
      }
    }
    return tensors.entrySet().stream()
        .map(entry -> entry.getValue().tensor(entry.getKey(), config))
        .toList();
  }

  /** A tensor while its rows are collected. */
  private record Made(LayerRole role, boolean stacked, List<Rows> rows) {
    Made(LayerRole role, boolean stacked) {
      this(role, stacked, new ArrayList<>());
    }

    /** Adds rows; those that follow the last ones in the same weight become one with these. */
    void add(Rows next) {
      Rows last = rows.isEmpty() ? next : rows.getLast();
      boolean follow =
          !rows.isEmpty()
              && last.weight().equals(next.weight())
              && last.blocks() == 1
              && next.blocks() == 1
              && last.run() == last.size()
              && next.run() == next.size()
              && last.first() + last.elements() == next.first();
      if (follow) {
        long size = last.size() + next.size();
        long first = last.first() / last.columns();
        rows.set(rows.size() - 1, Rows.of(next.weight(), next.shape(), first, 1, size, size, 0));
      } else {
        rows.add(next);
      }
    }

    GgufWeight tensor(String name, ModelConfig config) {
      long count = rows.stream().mapToLong(Rows::count).sum();
      List<Long> shape = new ArrayList<>();
      if (stacked) {
        long experts = Objects.requireNonNull(config.mixture()).experts();
        shape.add(experts);
        // The bias of an expert is one row.
        if (role.group() != TensorGroup.NORMS) {
          shape.add(count / experts);
        }
      } else {
        shape.add(count);
      }
      if (rows.getFirst().shape().size() > 1) {
        shape.add(rows.getFirst().columns());
      }
      return new GgufWeight(name, shape, rows, config.normOffset(role), false);
    }
  }

  /**
   * The rows of a part, by the role that they have. Heads of a matrix of queries, keys and values
   * stand together for each key/value head (see {@link ModelConfig#headsInterleaved}).
   */
  private static SequencedMap<LayerRole, Rows> rows(
      ModelConfig config, String weight, TensorSpec spec, Part part) {
    SequencedMap<LayerRole, Rows> rows = new LinkedHashMap<>();
    if (LayerRole.TRANSPOSED.contains(part.role())) {
      transposed(config, weight, spec, part, rows);
      return rows;
    }
    boolean bias = part.role() == LayerRole.QUERY_KEY_VALUE_BIAS;
    if (!bias && part.role() != LayerRole.QUERY_KEY_VALUE) {
      long count = part.to() - part.from();
      int heads = family(config).interleavedRows(part.role(), config);
      rows.put(part.role(), Rows.of(weight, spec.shape(), part.from(), 1, count, count, heads));
      return rows;
    }
    long groups = config.numKeyValueHeads();
    long width = config.headDim();
    long queries = config.numAttentionHeads() / groups * width;
    long stride = queries + 2 * width;
    LayerRole query = bias ? LayerRole.QUERY_BIAS : LayerRole.QUERY;
    LayerRole key = bias ? LayerRole.KEY_BIAS : LayerRole.KEY;
    int heads = family(config).interleavedRows(query, config);
    rows.put(query, Rows.of(weight, spec.shape(), 0, groups, queries, stride, heads));
    rows.put(key, Rows.of(weight, spec.shape(), queries, groups, width, stride, heads));
    rows.put(
        bias ? LayerRole.VALUE_BIAS : LayerRole.VALUE,
        Rows.of(weight, spec.shape(), queries + width, groups, width, stride, 0));
    return rows;
  }

  /**
   * The rows of an expert whose matrices have a row for each input: files have a row for each
   * output, and gates apart from ups.
   */
  private static void transposed(
      ModelConfig config,
      String weight,
      TensorSpec spec,
      Part part,
      SequencedMap<LayerRole, Rows> rows) {
    long width = Objects.requireNonNull(config.mixture()).width();
    switch (part.role()) {
      case GATE_UP_TRANSPOSED -> {
        rows.put(LayerRole.GATE, columns(weight, spec, part, 0, width));
        rows.put(LayerRole.UP, columns(weight, spec, part, 1, width));
      }
      case DOWN_TRANSPOSED ->
          rows.put(LayerRole.DOWN, columns(weight, spec, part, 0, spec.shape().getLast()));
      default -> {
        rows.put(LayerRole.GATE_BIAS, everySecond(weight, spec, part, 0));
        rows.put(LayerRole.UP_BIAS, everySecond(weight, spec, part, 1));
      }
    }
  }

  /** So many columns of a part, at equal distances. */
  private static Rows columns(String weight, TensorSpec spec, Part part, long first, long count) {
    long width = spec.shape().getLast();
    long begin = part.from() * width + first;
    return new Rows(
        weight, spec.shape(), part.to() - part.from(), begin, 1, count, 0, width / count, width, 0);
  }

  /** Every second element of a part of one row. */
  private static Rows everySecond(String weight, TensorSpec spec, Part part, long first) {
    long width = spec.shape().getLast();
    return new Rows(
        weight, spec.shape(), width / 2, part.from() * width + first, 1, 1, 0, width, 2, 0);
  }

  private static GgufFamily family(ModelConfig config) {
    return config.architecture().gguf().orElseThrow();
  }

  /** The key of what logits of routers become, behind the name of the architecture. */
  public static final String GATING = "expert_gating_func";

  /** The value of {@link #GATING}: 1 for a softmax, 2 for sigmoids. */
  public static int gating(RouterSpec.Scores scores) {
    return switch (scores) {
      case SOFTMAX -> 1;
      case SIGMOID -> 2;
    };
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

  private static String suffix(ModelConfig config, LayerRole role, boolean stacked) {
    String name = Objects.requireNonNullElseGet(family(config).name(role), () -> of(role));
    return stacked ? name.replace(".", "_exps.") : name;
  }

  private static String of(LayerRole role) {
    return switch (role) {
      case ATTENTION_INPUT_NORM -> "attn_norm.weight";
      case ATTENTION_INPUT_NORM_BIAS -> "attn_norm.bias";
      case QUERY -> "attn_q.weight";
      case KEY -> "attn_k.weight";
      case VALUE -> "attn_v.weight";
      case OUTPUT -> "attn_output.weight";
      case QUERY_BIAS -> "attn_q.bias";
      case KEY_BIAS -> "attn_k.bias";
      case VALUE_BIAS -> "attn_v.bias";
      case OUTPUT_BIAS -> "attn_output.bias";
      case QUERY_COMPRESSION -> "attn_q_a.weight";
      case QUERY_LATENT_NORM -> "attn_q_a_norm.weight";
      case QUERY_EXPANSION -> "attn_q_b.weight";
      case KEY_VALUE_COMPRESSION, ROTATED_KEY -> "attn_kv_a_mqa.weight";
      case KEY_VALUE_LATENT_NORM -> "attn_kv_a_norm.weight";
      case KEY_VALUE_EXPANSION -> "attn_kv_b.weight";
      case LINEAR_HEADS -> "attn_qkv.weight";
      case LINEAR_GATE -> "attn_gate.weight";
      case LINEAR_RATE -> "ssm_beta.weight";
      case LINEAR_DECAY -> "ssm_alpha.weight";
      case LINEAR_HEADS_GATE -> "ssm_in.weight";
      case LINEAR_RATE_DECAY -> "ssm_ba.weight";
      case CONVOLUTION -> "ssm_conv1d.weight";
      case LOG_DECAY -> "ssm_a";
      case DECAY_BIAS -> "ssm_dt.bias";
      case LINEAR_NORM -> "ssm_norm.weight";
      case QUERY_NORM -> "attn_q_norm.weight";
      case KEY_NORM -> "attn_k_norm.weight";
      case ATTENTION_OUTPUT_NORM -> "post_attention_norm.weight";
      case FEED_FORWARD_INPUT_NORM -> "ffn_norm.weight";
      case FEED_FORWARD_INPUT_NORM_BIAS -> "ffn_norm.bias";
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
      case QUERY_KEY_VALUE, QUERY_KEY_VALUE_BIAS ->
          throw new IllegalArgumentException(role + " is named as queries, keys and values are");
      case SINKS -> "attn_sinks.weight";
      case ROUTER_BIAS -> "ffn_gate_inp.bias";
      case ROUTER_CORRECTION -> "exp_probs_b.bias";
      case GATE_UP_TRANSPOSED, GATE_UP_BIAS, DOWN_TRANSPOSED ->
          throw new IllegalArgumentException(role + " is named as gates, ups and downs are");
    };
  }
}
