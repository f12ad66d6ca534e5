package dev.laco.model;

import dev.laco.model.GgufWeight.Order;
import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.GgufWeight.Values;
import dev.laco.model.TensorSpec.Part;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The names of tensors in GGUF files, which are the same in all families, as llama.cpp's converter
 * writes them.
 */
public final class GgufNames {
  /** The token embedding. */
  public static final String EMBEDDING = "token_embd.weight";

  /** The final norm's weight, in most families. */
  static final String FINAL_NORM = "output_norm.weight";

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

  /** The convolution of linear attention, behind the number of the layer. */
  static final String CONVOLUTION = "ssm_conv1d.weight";

  /** That of layers without attention likewise. */
  static final String SHORT_CONVOLUTION = "shortconv.conv.weight";

  /** The correction of scores of experts, behind the number of the layer. */
  private static final String CORRECTION = "exp_probs_b.bias";

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
    tensors.add(plain(EMBEDDING, architecture.embedding(), table, Values.SAME));
    List<Long> norm = List.of(width);
    tensors.add(
        plain(
            family(config).finalNorm(),
            architecture.finalNorm(),
            norm,
            Values.ofNorm(architecture.normOffset())));
    architecture
        .finalNormBias()
        .ifPresent(bias -> tensors.add(plain(FINAL_NORM_BIAS, bias, norm, Values.SAME)));
    if (!config.tieWordEmbeddings()) {
      Values values = config.unitHead() ? Values.UNIT_ROWS : Values.SAME;
      tensors.add(plain(HEAD, architecture.head(), table, values));
    }
    return List.copyOf(tensors);
  }

  private static GgufWeight plain(String name, String weight, List<Long> shape, Values values) {
    return new GgufWeight(
        name, shape, List.of(Rows.of(weight, shape, 0, shape.getFirst())), values);
  }

  /** The tensors of layer {@code layer}. */
  public static List<GgufWeight> layer(ModelConfig config, int layer) {
    Architecture architecture = config.architecture();
    SequencedMap<String, Made> tensors = new LinkedHashMap<>();
    for (TensorSpec spec : architecture.layerTensors(config, layer)) {
      String weight = architecture.tensorName(layer, spec);
      for (Part part : spec.parts()) {
        boolean ofExpert = part.expert() != LayerPart.NO_EXPERT;
        long matrices = matrices(config, part);
        for (Held held : rows(config, layer, weight, spec, part)) {
          String suffix = suffix(config, layer, held.role);
          String name = inLayer(layer, ofExpert ? suffix.replace(".", "_exps.") : suffix);
          tensors.computeIfAbsent(name, n -> new Made(held.role, matrices)).add(held.rows);
        }
      }
    }
    return tensors.entrySet().stream()
        .map(entry -> entry.getValue().tensor(entry.getKey(), config))
        .toList();
  }

  /**
   * Matrices that are stacked in the tensor that has a part, one of each expert or of each head; 0
   * for a tensor that is one matrix or vector.
   */
  private static long matrices(ModelConfig config, Part part) {
    if (part.expert() != LayerPart.NO_EXPERT) {
      return Objects.requireNonNull(config.mixture()).experts();
    }
    return part.role() == LayerRole.KEY_VALUE_EXPANSION ? config.numAttentionHeads() : 0;
  }

  /** Rows, and the role of the tensor that has them in the file. */
  private record Held(LayerRole role, Rows rows) {}

  /**
   * A tensor while its rows are collected.
   *
   * @param matrices that are stacked in the tensor; 0 where it is one matrix or vector
   */
  private record Made(LayerRole role, long matrices, List<Rows> rows) {
    Made(LayerRole role, long matrices) {
      this(role, matrices, new ArrayList<>());
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
        rows.set(rows.size() - 1, Rows.of(next.weight(), next.shape(), first, size));
      } else {
        rows.add(next);
      }
    }

    GgufWeight tensor(String name, ModelConfig config) {
      long count = rows.stream().mapToLong(Rows::count).sum();
      List<Long> shape = new ArrayList<>();
      if (matrices > 0) {
        shape.add(matrices);
        // The bias of an expert is one row.
        if (role.group() != TensorGroup.NORMS) {
          shape.add(count / matrices);
        }
      } else {
        shape.add(count);
      }
      if (rows.getFirst().shape().size() > 1) {
        shape.add(rows.getFirst().columns());
      }
      Values values =
          role == LayerRole.LOG_DECAY ? Values.MINUS_EXP : Values.ofNorm(config.normOffset(role));
      return new GgufWeight(name, shape, rows, values);
    }
  }

  /** The rows of a part, in the order of the file. */
  private static List<Held> rows(
      ModelConfig config, int layer, String weight, TensorSpec spec, Part part) {
    if (LayerRole.TRANSPOSED.contains(part.role())) {
      return transposed(config, weight, spec, part);
    }
    if (config.attention().get(layer).mixer() == TokenMixer.LINEAR_ATTENTION) {
      return ofLinear(config, weight, spec, part);
    }
    return switch (part.role()) {
      case QUERY_KEY_VALUE, QUERY_KEY_VALUE_BIAS -> heads(config, weight, spec, part.role());
      case KEY_VALUE_EXPANSION -> ofLatents(config, weight, spec);
      default -> List.of(whole(config, weight, spec, part));
    };
  }

  /** All rows of a part. */
  private static Held whole(ModelConfig config, String weight, TensorSpec spec, Part part) {
    Rows rows = Rows.of(weight, spec.shape(), part.from(), part.to() - part.from());
    return new Held(part.role(), rows.inOrder(family(config).rowOrder(part.role(), config)));
  }

  /**
   * Queries, keys and values of a matrix in which they stand together for each key/value head (see
   * {@link ModelConfig#headsInterleaved}).
   */
  private static List<Held> heads(
      ModelConfig config, String weight, TensorSpec spec, LayerRole role) {
    boolean bias = role == LayerRole.QUERY_KEY_VALUE_BIAS;
    long groups = config.numKeyValueHeads();
    long width = config.headDim();
    long queries = config.numAttentionHeads() / groups * width;
    long stride = queries + 2 * width;
    LayerRole query = bias ? LayerRole.QUERY_BIAS : LayerRole.QUERY;
    LayerRole key = bias ? LayerRole.KEY_BIAS : LayerRole.KEY;
    Order order = family(config).rowOrder(query, config);
    List<Long> shape = spec.shape();
    return List.of(
        new Held(query, Rows.of(weight, shape, 0, groups, queries, stride).inOrder(order)),
        new Held(key, Rows.of(weight, shape, queries, groups, width, stride).inOrder(order)),
        new Held(
            bias ? LayerRole.VALUE_BIAS : LayerRole.VALUE,
            Rows.of(weight, shape, queries + width, groups, width, stride)));
  }

  /**
   * The projection of latent vectors to keys and values: files have those of keys, which llama.cpp
   * multiplies queries by, as one transposed matrix of each head, and those of values apart.
   */
  private static List<Held> ofLatents(ModelConfig config, String weight, TensorSpec spec) {
    LatentAttention sizes = Objects.requireNonNull(config.latentAttention());
    long heads = config.numAttentionHeads();
    long ofHead = (long) sizes.unrotated() + sizes.value();
    Rows keys =
        new Rows(
            weight,
            spec.shape(),
            sizes.unrotated(),
            0,
            heads,
            sizes.rank(),
            ofHead * sizes.rank(),
            1,
            sizes.rank(),
            Order.SAME,
            Order.SAME);
    Rows values = Rows.of(weight, spec.shape(), sizes.unrotated(), heads, sizes.value(), ofHead);
    return List.of(new Held(LayerRole.KEY, keys), new Held(LayerRole.VALUE, values));
  }

  /**
   * Rows of layers with linear attention. Heads of values of one key head stand together in
   * weights; in files of some families the first ones of all key heads stand before the second
   * ones.
   */
  private static List<Held> ofLinear(
      ModelConfig config, String weight, TensorSpec spec, Part part) {
    LinearAttention sizes = Objects.requireNonNull(config.linearAttention());
    List<Long> shape = spec.shape();
    long groups = sizes.keyHeads();
    long keys = groups * sizes.key();
    Order numbers = family(config).valueHeadOrder(sizes, 1);
    Order values = family(config).valueHeadOrder(sizes, sizes.value());
    Held whole = whole(config, weight, spec, part);
    return switch (part.role()) {
      case LINEAR_HEADS, CONVOLUTION ->
          List.of(
              new Held(part.role(), Rows.of(weight, shape, 0, 2 * keys)),
              new Held(
                  part.role(), Rows.of(weight, shape, 2 * keys, sizes.values()).inOrder(values)));
      case LINEAR_GATE -> List.of(new Held(part.role(), whole.rows.inOrder(values)));
      case LINEAR_RATE, LINEAR_DECAY, LOG_DECAY, DECAY_BIAS ->
          List.of(new Held(part.role(), whole.rows.inOrder(numbers)));
      case OUTPUT -> List.of(new Held(part.role(), whole.rows.withColumnsIn(values)));
      case LINEAR_HEADS_GATE -> {
        long key = sizes.key();
        long ofKey = (long) sizes.valueHeadsOfKey() * sizes.value();
        long stride = 2 * (key + ofKey);
        yield List.of(
            new Held(LayerRole.LINEAR_HEADS, Rows.of(weight, shape, 0, groups, key, stride)),
            new Held(LayerRole.LINEAR_HEADS, Rows.of(weight, shape, key, groups, key, stride)),
            new Held(
                LayerRole.LINEAR_HEADS, Rows.of(weight, shape, 2 * key, groups, ofKey, stride)),
            new Held(
                LayerRole.LINEAR_GATE,
                Rows.of(weight, shape, 2 * key + ofKey, groups, ofKey, stride)));
      }
      default -> List.of(whole);
    };
  }

  /**
   * The rows of an expert whose matrices have a row for each input: files have a row for each
   * output, and gates apart from ups.
   */
  private static List<Held> transposed(
      ModelConfig config, String weight, TensorSpec spec, Part part) {
    Mixture mixture = Objects.requireNonNull(config.mixture());
    long width = mixture.width();
    return switch (part.role()) {
      case GATE_UP_TRANSPOSED -> {
        boolean sideBySide = mixture.gate() != null;
        long distance = sideBySide ? 2 : 1;
        long firstUp = sideBySide ? 1 : width;
        yield List.of(
            new Held(LayerRole.GATE, columns(weight, spec, part, 0, width, distance)),
            new Held(LayerRole.UP, columns(weight, spec, part, firstUp, width, distance)));
      }
      case DOWN_TRANSPOSED -> {
        long columns = spec.shape().getLast();
        yield List.of(new Held(LayerRole.DOWN, columns(weight, spec, part, 0, columns, 1)));
      }
      default ->
          List.of(
              new Held(LayerRole.GATE_BIAS, everySecond(weight, spec, part, 0)),
              new Held(LayerRole.UP_BIAS, everySecond(weight, spec, part, 1)));
    };
  }

  /** So many columns of a part, at equal distances. */
  private static Rows columns(
      String weight, TensorSpec spec, Part part, long first, long count, long distance) {
    long width = spec.shape().getLast();
    long begin = part.from() * width + first;
    return new Rows(
        weight,
        spec.shape(),
        part.to() - part.from(),
        begin,
        1,
        count,
        0,
        distance,
        width,
        Order.SAME,
        Order.SAME);
  }

  /** Every second element of a part of one row. */
  private static Rows everySecond(String weight, TensorSpec spec, Part part, long first) {
    long width = spec.shape().getLast();
    return new Rows(
        weight,
        spec.shape(),
        width / 2,
        part.from() * width + first,
        1,
        1,
        0,
        width,
        2,
        Order.SAME,
        Order.SAME);
  }

  private static GgufFamily family(ModelConfig config) {
    return config.architecture().gguf().orElseThrow();
  }

  /**
   * The key of the number of heads of keys; in files of models with convolutions in the place of
   * attention a list of those of each layer, 0 where it has no attention.
   */
  public static final String KEY_VALUE_HEADS = "attention.head_count_kv";

  /** The key of the tokens that such a convolution sums. */
  public static final String CONVOLUTION_KERNEL = "shortconv.l_cache";

  /** The key of what logits of routers become, behind the name of the architecture. */
  public static final String GATING = "expert_gating_func";

  /** The key of the elements of a head's query where attention has latent vectors. */
  public static final String LATENT_QUERY_LENGTH = "attention.key_length_mla";

  /** The key of the elements of a head's value where attention has latent vectors. */
  public static final String LATENT_VALUE_LENGTH = "attention.value_length_mla";

  /** The key of the elements of the latent vector of keys and values. */
  public static final String LATENT_RANK = "attention.kv_lora_rank";

  /** The key of the elements of the latent vector of queries. */
  public static final String QUERY_RANK = "attention.q_lora_rank";

  /** The key of the number of layers in front of the first mixture of experts. */
  public static final String LEADING_DENSE = "leading_dense_block_count";

  /** The key of the number of groups of experts. */
  public static final String GROUPS = "expert_group_count";

  /** The key of the number of groups of which a token's experts are. */
  public static final String CHOSEN_GROUPS = "expert_group_used_count";

  /**
   * The key of a tenth of {@code mscale_all_dim}, by which the logarithm of YaRN's factor is
   * multiplied, in files of attention with latent vectors.
   */
  public static final String YARN_MULTIPLIER = "rope.scaling.yarn_log_multiplier";

  /**
   * The key of the number n of which each n-th layer has a softmax, the others linear attention.
   */
  public static final String SOFTMAX_INTERVAL = "full_attention_interval";

  /** That number where a file says neither it nor a list. */
  public static final int USUAL_INTERVAL = 4;

  /** The key of the list that says of each layer whether it has linear attention. */
  public static final String LINEAR_LAYERS = "attention.recurrent_layers";

  /** The value of {@link #GATING}: 1 for a softmax, 2 for sigmoids. */
  public static int gating(RouterSpec.Scores scores) {
    return switch (scores) {
      case SOFTMAX -> 1;
      case SIGMOID -> 2;
    };
  }

  /**
   * What the logits of routers become in a file; nothing where it does not say so.
   *
   * @param gating the value of {@link #GATING}
   * @param tensors their names: early files of DeepSeek-V3 have corrections of scores and no value
   */
  public static Optional<RouterSpec.Scores> scores(OptionalLong gating, Stream<String> tensors) {
    if (gating.isPresent()) {
      return Stream.of(RouterSpec.Scores.values())
          .filter(scores -> gating(scores) == gating.getAsLong())
          .findFirst();
    }
    return tensors.anyMatch(name -> name.endsWith(CORRECTION))
        ? Optional.of(RouterSpec.Scores.SIGMOID)
        : Optional.empty();
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

  private static String suffix(ModelConfig config, int layer, LayerRole role) {
    TokenMixer mixer = config.attention().get(layer).mixer();
    if (role == LayerRole.OUTPUT && mixer == TokenMixer.LINEAR_ATTENTION) {
      return "ssm_out.weight";
    }
    if (role == LayerRole.OUTPUT && mixer == TokenMixer.CONVOLUTION) {
      return "shortconv.out_proj.weight";
    }
    return Objects.requireNonNullElseGet(family(config).name(role), () -> of(role));
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
      case LINEAR_HEADS -> "attn_qkv.weight";
      case LINEAR_GATE -> "attn_gate.weight";
      case LINEAR_RATE -> "ssm_beta.weight";
      case LINEAR_DECAY -> "ssm_alpha.weight";
      case LINEAR_RATE_DECAY -> "ssm_ba.weight";
      case CONVOLUTION -> CONVOLUTION;
      case LOG_DECAY -> "ssm_a";
      case DECAY_BIAS -> "ssm_dt.bias";
      case LINEAR_NORM -> "ssm_norm.weight";
      case CONVOLUTION_GATE, CONVOLUTION_OUTPUT_GATE, CONVOLUTION_INPUT ->
          "shortconv.in_proj.weight";
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
      case QUERY_KEY_VALUE, QUERY_KEY_VALUE_BIAS, KEY_VALUE_EXPANSION, LINEAR_HEADS_GATE ->
          throw new IllegalArgumentException(role + " is named as its parts are");
      case SINKS -> "attn_sinks.weight";
      case ROUTER_BIAS -> "ffn_gate_inp.bias";
      case ROUTER_CORRECTION -> CORRECTION;
      case GATE_UP_TRANSPOSED, GATE_UP_BIAS, DOWN_TRANSPOSED ->
          throw new IllegalArgumentException(role + " is named as gates, ups and downs are");
    };
  }
}
