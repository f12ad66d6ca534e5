package dev.laco.checkpoint;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.model.Architecture;
import dev.laco.model.GgufFamily;
import dev.laco.model.GgufNames;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import dev.laco.model.RouterSpec;
import java.math.BigDecimal;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * The {@code config.json} that the metadata of a GGUF file stand for. Keys of the metadata are
 * those of llama.cpp's converter; what a loader of llama.cpp takes where a key is absent is written
 * out.
 */
final class GgufConfig {
  /** The relative difference that the converter's arithmetic in f32 makes to a rotary factor. */
  private static final double ROUNDING = 1e-5;

  /** The key of the number of layers that predict tokens beyond the next one. */
  private static final String PREDICTION = "nextn_predict_layers";

  /** The key that says whether shares of a token's experts are divided by their sum. */
  private static final String SHARES_OF_CHOSEN = "expert_weights_norm";

  private final Path file;
  private final GgufMetadata metadata;
  private final GgufFamily family;
  private final String prefix;
  private final ObjectNode config = JsonNodeFactory.instance.objectNode();

  private GgufConfig(Path file, GgufMetadata metadata, GgufFamily family) {
    this.file = file;
    this.metadata = metadata;
    this.family = family;
    this.prefix = family.name() + ".";
  }

  /**
   * What the tensors of a file tell of its config.
   *
   * @param names of the tensors in the file
   * @param vocabulary rows of the embedding
   * @param torchType the type of the matrices as {@code config.json} calls it
   * @param ropeFactors the factors by which frequencies are divided, by the names of their tensors
   */
  record Tensors(
      Set<String> names, long vocabulary, String torchType, Map<String, List<Float>> ropeFactors) {}

  /**
   * Makes the config.
   *
   * @throws BadInputException if a key is missing or wrong, or says what the engine does not
   *     compute
   */
  static ObjectNode of(
      Path file, GgufMetadata metadata, Architecture architecture, Tensors tensors) {
    GgufFamily family = architecture.gguf().orElseThrow();
    return new GgufConfig(file, metadata, family).make(architecture, tensors);
  }

  private ObjectNode make(Architecture architecture, Tensors tensors) {
    if (metadata.integer("split.count").orElse(1) > 1) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: is one of %d parts of a model; merge them with llama-gguf-split of llama.cpp",
              file,
              metadata.integer("split.count").orElseThrow()));
    }
    config.putArray("architectures").add(architecture.className());
    config.put("model_type", architecture.modelType());
    config.put("torch_dtype", tensors.torchType);
    long heads = required("attention.head_count");
    long hidden = required("embedding_length");
    boolean latent = family.hasLatentAttention();
    long headDim =
        latent
            ? required("rope.dimension_count")
            : integer("attention.key_length").orElse(heads == 0 ? 0 : hidden / heads);
    config.put(family.activationKey(), family.activation().configName());
    config.put("hidden_size", hidden);
    // Where all layers have mixtures, files may name the width of experts alone.
    config.put(
        "intermediate_size",
        integer("feed_forward_length")
            .orElseGet(
                () ->
                    integer("expert_feed_forward_length")
                        .orElseThrow(() -> missing("feed_forward_length"))));
    config.put("num_hidden_layers", required("block_count"));
    config.put("num_attention_heads", heads);
    if (family.hasConvolutions() && metadata.listSize(prefix + GgufNames.KEY_VALUE_HEADS) >= 0) {
      convolutions();
    } else {
      config.put(
          "num_key_value_heads", latent ? heads : integer(GgufNames.KEY_VALUE_HEADS).orElse(heads));
    }
    config.put("head_dim", headDim);
    config.put("max_position_embeddings", required("context_length"));
    config.put(
        architecture.epsKey(),
        requiredNumber(
            architecture.hasLayerNorms()
                ? "attention.layer_norm_epsilon"
                : "attention.layer_norm_rms_epsilon"));
    config.put("vocab_size", tensors.vocabulary);
    config.put("tie_word_embeddings", !tensors.names.contains("output.weight"));
    config.put(
        architecture.feedForwardBiasKey(),
        tensors.names.contains("blk.0.ffn_gate.bias")
            || tensors.names.contains("blk.0.ffn_up.bias"));
    config.put(
        architecture.attentionBiasKey(),
        tensors.names.contains("blk.0.attn_q.bias")
            || tensors.names.contains("blk.0.attn_qkv.bias"));
    if (latent) {
      latentAttention(headDim);
    } else if (integer("attention.value_length").orElse(headDim) != headDim) {
      throw metadata.bad(prefix + "attention.value_length", "the key_length, " + headDim);
    }
    if (integer(PREDICTION).orElse(0) > 0) {
      throw metadata.bad(
          prefix + PREDICTION,
          "0; of a model with layers that predict more than the next token, prune the original folder");
    }
    windows();
    if (family.hasLinearAttention()) {
      linearAttention();
    }
    if (family.hasSoftCaps()) {
      config.put(
          "query_pre_attn_scalar",
          family.scoreWidth(required("block_count"), hidden, heads, headDim));
      softCap("attn_logit_softcapping");
      softCap("final_logit_softcapping");
    }
    if (integer("expert_count").orElse(0) > 0) {
      mixtures(architecture);
    }
    if (family.hasParallelKey()) {
      metadata
          .bool(prefix + "use_parallel_residual")
          .ifPresent(parallel -> config.put("use_parallel_residual", parallel));
    }
    for (GgufFamily.Value value : family.values()) {
      config.put(value.configKey(), requiredNumber(value.key()));
    }
    rotary(architecture, headDim, tensors.ropeFactors);
    token("bos_token_id", "bos_token_id");
    token("eos_token_id", "eos_token_id");
    token("padding_token_id", "pad_token_id");
    family.adapt(config, tensors.names);
    return config;
  }

  /**
   * The window, and the layers that have it: those that a list names, else all but every n-th,
   * where n is that of the metadata or of the architecture.
   */
  private void windows() {
    long every = family.windowPeriod();
    long window = integer("attention.sliding_window").orElse(family.windowByDefault());
    if (window <= 0) {
      config.putNull("sliding_window");
    } else {
      config.put("sliding_window", window);
    }
    if (every == 0) {
      return;
    }
    String key = prefix + "attention.sliding_window_pattern";
    boolean list = metadata.listSize(key) >= 0;
    List<Boolean> listed = list ? metadata.bools(key) : List.of();
    long depth = required("block_count");
    if (list && listed.size() != depth) {
      throw metadata.bad(key, "a list of block_count, " + depth + ", entries");
    }
    long period = list ? 0 : metadata.integer(key).orElse(every);
    ArrayNode types = JsonNodeFactory.instance.arrayNode();
    for (int layer = 0; layer < Math.min(depth, ModelConfig.MAX_LAYERS); layer++) {
      boolean slides =
          !listed.isEmpty() ? listed.get(layer) : period <= 0 || layer % period < period - 1;
      types.add(window > 0 && slides ? "sliding_attention" : "full_attention");
    }
    config.set("layer_types", types);
  }

  /**
   * The sizes of latent vectors.
   *
   * @param rotated elements of a head that are rotated
   */
  private void latentAttention(long rotated) {
    long query =
        integer(GgufNames.LATENT_QUERY_LENGTH)
            .orElseThrow(
                () ->
                    missing(
                        GgufNames.LATENT_QUERY_LENGTH,
                        ", as in files of releases of llama.cpp before May 2025;"
                            + " convert the original folder anew, or prune it"));
    if (query <= rotated) {
      throw metadata.bad(
          prefix + GgufNames.LATENT_QUERY_LENGTH, "more than rope.dimension_count, " + rotated);
    }
    long queryRank = integer(GgufNames.QUERY_RANK).orElse(0);
    if (queryRank > 0) {
      config.put("q_lora_rank", queryRank);
    } else {
      config.putNull("q_lora_rank");
    }
    config.put("kv_lora_rank", required(GgufNames.LATENT_RANK));
    config.put("qk_nope_head_dim", query - rotated);
    config.put("qk_rope_head_dim", rotated);
    config.put("v_head_dim", required(GgufNames.LATENT_VALUE_LENGTH));
    config.put("rope_interleave", true);
  }

  /** The sizes of linear attention, and the layers that have it. */
  private void linearAttention() {
    long heads = required("ssm.time_step_rank");
    long values = required("ssm.inner_size");
    if (heads <= 0 || values % heads != 0) {
      throw metadata.bad(prefix + "ssm.inner_size", "a multiple of ssm.time_step_rank, " + heads);
    }
    config.put("linear_num_key_heads", required("ssm.group_count"));
    config.put("linear_num_value_heads", heads);
    config.put("linear_key_head_dim", required("ssm.state_size"));
    config.put("linear_value_head_dim", values / heads);
    config.put("linear_conv_kernel_dim", required("ssm.conv_kernel"));
    String key = prefix + GgufNames.LINEAR_LAYERS;
    boolean list = metadata.listSize(key) >= 0;
    List<Boolean> listed = list ? metadata.bools(key) : List.of();
    long depth = required("block_count");
    if (list && listed.size() != depth) {
      throw metadata.bad(key, "a list of block_count, " + depth + ", entries");
    }
    long interval = integer(GgufNames.SOFTMAX_INTERVAL).orElse(GgufNames.USUAL_INTERVAL);
    if (interval <= 0) {
      throw metadata.bad(prefix + GgufNames.SOFTMAX_INTERVAL, "a number above 0");
    }
    ArrayNode types = JsonNodeFactory.instance.arrayNode();
    for (int layer = 0; layer < Math.min(depth, ModelConfig.MAX_LAYERS); layer++) {
      boolean linear = list ? listed.get(layer) : (layer + 1) % interval != 0;
      types.add(linear ? "linear_attention" : "full_attention");
    }
    config.set("layer_types", types);
  }

  /** The layers that have a convolution: those without heads of keys. */
  private void convolutions() {
    String key = prefix + GgufNames.KEY_VALUE_HEADS;
    List<Integer> heads = metadata.integers(key);
    long depth = required("block_count");
    if (heads.size() != depth) {
      throw metadata.bad(key, "a list of block_count, " + depth + ", entries");
    }
    List<Integer> numbers = heads.stream().filter(count -> count != 0).distinct().toList();
    if (numbers.size() != 1) {
      throw metadata.bad(key, "0 or one other number, the same in all layers that have it");
    }
    ArrayNode types = JsonNodeFactory.instance.arrayNode();
    heads.forEach(count -> types.add(count == 0 ? "conv" : "full_attention"));
    config.set("layer_types", types);
    config.put("num_key_value_heads", numbers.getFirst());
    config.put("conv_L_cache", required(GgufNames.CONVOLUTION_KERNEL));
  }

  private void softCap(String key) {
    OptionalDouble cap = number(key);
    if (cap.isPresent() && cap.getAsDouble() > 0) {
      config.put(key, cap.getAsDouble());
    } else {
      config.putNull(key);
    }
  }

  private void mixtures(Architecture architecture) {
    OptionalLong width = integer("expert_feed_forward_length");
    architecture.describeMixtures(
        config,
        required("expert_count"),
        required("expert_used_count"),
        width.isPresent() ? width.getAsLong() : null,
        family.hasSharesOfChosen());
    if (family.hasRouterInMetadata()) {
      router(architecture);
    } else {
      integer("expert_shared_feed_forward_length")
          .ifPresent(shared -> config.put("shared_expert_intermediate_size", shared));
    }
  }

  /** What llama.cpp takes where a key is absent is written out, in the keys of DeepSeek-V3. */
  private void router(Architecture architecture) {
    int gating = GgufNames.gating(architecture.routerScores());
    if (integer(GgufNames.GATING).orElse(gating) != gating) {
      throw metadata.bad(prefix + GgufNames.GATING, gating == 2 ? "2, sigmoids" : "1, softmax");
    }
    family
        .counts()
        .forEach(
            (key, count) -> {
              if (integer(key).orElse(count) != count) {
                throw metadata.bad(prefix + key, count + ", which alone is supported");
              }
            });
    if (family.hasLatentAttention()) {
      groups(architecture.routerScores() == RouterSpec.Scores.SIGMOID);
    }
    config.put("first_k_dense_replace", integer(GgufNames.LEADING_DENSE).orElse(0));
    config.put("n_shared_experts", integer("expert_shared_count").orElse(0));
    config.put(
        "norm_topk_prob",
        metadata.bool(prefix + SHARES_OF_CHOSEN).orElse(!family.hasLatentAttention()));
    config.put("routed_scaling_factor", number("expert_weights_scale").orElse(1));
    config.put("num_nextn_predict_layers", 0);
  }

  /**
   * The groups of experts, of which llama.cpp chooses by the sum of the two best of each, as
   * DeepSeek-V3 does.
   *
   * @param sigmoids whether the router is that of DeepSeek-V3, else that of DeepSeek-V2, which
   *     chooses by the best one, and whose shares are never divided by their sum
   */
  private void groups(boolean sigmoids) {
    long count = integer(GgufNames.GROUPS).orElse(1);
    if (sigmoids) {
      config.put("n_group", Math.max(count, 1));
      config.put("topk_group", integer(GgufNames.CHOSEN_GROUPS).orElse(1));
      return;
    }
    String instead = " beside a softmax; prune the original folder";
    if (count > 1) {
      throw metadata.bad(prefix + GgufNames.GROUPS, "1" + instead);
    }
    if (metadata.bool(prefix + SHARES_OF_CHOSEN).orElse(false)) {
      throw metadata.bad(prefix + SHARES_OF_CHOSEN, "false" + instead);
    }
  }

  private void token(String key, String field) {
    OptionalLong id = metadata.integer("tokenizer.ggml." + key);
    // An int, as in a config that was read from a file; a number beyond int is no token id.
    if (id.isPresent() && (int) id.getAsLong() == id.getAsLong()) {
      config.put(field, (int) id.getAsLong());
    }
  }

  private void rotary(
      Architecture architecture, long headDim, Map<String, List<Float>> ropeFactors) {
    List<Float> factors = ropeFactors.getOrDefault(GgufNames.ROPE_FACTORS, List.of());
    if (family.keyOfWindowTheta() != null) {
      config.put(family.keyOfWindowTheta(), number("rope.freq_base_swa").orElse(10_000));
    }
    config.put("rope_theta", number("rope.freq_base").orElse(10_000));
    long rotated = integer("rope.dimension_count").orElse(headDim);
    if (rotated != headDim || architecture.rotatesParts()) {
      config.put("partial_rotary_factor", (double) rotated / headDim);
    }
    String type = metadata.string(prefix + "rope.scaling.type").orElse("none");
    if (ropeFactors.containsKey(GgufNames.LONG_FACTORS)) {
      longRope(
          ropeFactors.get(GgufNames.LONG_FACTORS),
          ropeFactors.getOrDefault(GgufNames.SHORT_FACTORS, List.of()));
      return;
    }
    if (!factors.isEmpty()) {
      if (!type.equals("none")) {
        throw metadata.bad(prefix + "rope.scaling.type", "none beside rope_freqs.weight");
      }
      llama3(headDim, factors);
      return;
    }
    switch (type) {
      case "none" -> {}
      case "linear" -> {
        ObjectNode scaling = config.putObject("rope_scaling");
        scaling.put("rope_type", "linear");
        scaling.put("factor", requiredNumber("rope.scaling.factor"));
      }
      case "yarn" -> {
        ObjectNode scaling = config.putObject("rope_scaling");
        scaling.put("rope_type", "yarn");
        scaling.put("factor", requiredNumber("rope.scaling.factor"));
        scaling.put(
            "original_max_position_embeddings", required("rope.scaling.original_context_length"));
        requireYarn("yarn_ext_factor", 1);
        requireYarn("yarn_attn_factor", 1 + 0.1 * Math.log(requiredNumber("rope.scaling.factor")));
        requireYarn("yarn_beta_fast", 32);
        requireYarn("yarn_beta_slow", 1);
        requireYarn("attn_factor", 1);
        if (family.hasLatentAttention()) {
          double multiplier = number(GgufNames.YARN_MULTIPLIER).orElse(0);
          if (!(multiplier > 0)) {
            throw metadata.bad(prefix + GgufNames.YARN_MULTIPLIER, "a number above 0");
          }
          // The shortest decimal of the number in f32.
          double mscale =
              new BigDecimal(Float.toString((float) multiplier)).movePointRight(1).doubleValue();
          scaling.put("mscale", mscale);
          scaling.put("mscale_all_dim", mscale);
        }
      }
      default ->
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: metadata '%srope.scaling.type' is %s, which is not supported in GGUF files",
                  file,
                  prefix,
                  Legible.excerpt(type)));
    }
  }

  private void requireYarn(String key, double expected) {
    OptionalDouble found = number("rope.scaling." + key);
    if (found.isPresent() && Math.abs(found.getAsDouble() - expected) > ROUNDING * expected) {
      throw metadata.bad(
          prefix + "rope.scaling." + key, expected + "; only YaRN's own factors are supported");
    }
  }

  /**
   * LongRoPE, whose factor on cosines and sines is written only where it is not that of the paper.
   */
  private void longRope(List<Float> longFactors, List<Float> shortFactors) {
    long original = required("rope.scaling.original_context_length");
    double stretch = (double) required("context_length") / original;
    double usual =
        stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log((double) original));
    double factor = number("rope.scaling.attn_factor").orElse(usual);
    config.put("original_max_position_embeddings", original);
    ObjectNode scaling = config.putObject("rope_scaling");
    scaling.put("rope_type", "longrope");
    scaling.put("original_max_position_embeddings", original);
    if (Math.abs(factor - usual) > ROUNDING * usual) {
      scaling.put("attention_factor", factor);
    }
    decimals(scaling.putArray("long_factor"), longFactors);
    decimals(scaling.putArray("short_factor"), shortFactors);
  }

  /** Each number as the shortest decimal that gives it. */
  private static void decimals(ArrayNode list, List<Float> numbers) {
    numbers.forEach(number -> list.add(Double.parseDouble(number.toString())));
  }

  /**
   * Finds the parameters of Llama 3's scaling from its factors, since the file does not have them:
   * the last factor is that of the longest wavelength, and the others are published with 1 and 4.
   */
  private void llama3(long headDim, List<Float> factors) {
    double factor = factors.getLast();
    double theta = config.get("rope_theta").doubleValue();
    // That of all published models first: where several fit, they compute the same.
    List<Integer> contexts =
        IntStream.concat(IntStream.of(8192), IntStream.rangeClosed(4, 20).map(i -> 1 << i))
            .boxed()
            .toList();
    boolean whole = factors.size() == headDim / 2;
    for (int context : whole ? contexts : List.<Integer>of()) {
      RopeParameters.Llama3 scaling = new RopeParameters.Llama3(factor, 1, 4, context);
      if (areClose(scaling.factors(theta, (int) headDim), factors)) {
        ObjectNode written = config.putObject("rope_scaling");
        written.put("rope_type", "llama3");
        written.put("factor", factor);
        written.put("low_freq_factor", scaling.lowFreqFactor());
        written.put("high_freq_factor", scaling.highFreqFactor());
        written.put("original_max_position_embeddings", context);
        return;
      }
    }
    throw new BadInputException(
        file
            + ": tensor 'rope_freqs.weight' has factors that are not those of Llama 3.1's scaling");
  }

  private static boolean areClose(List<Double> expected, List<Float> found) {
    return IntStream.range(0, found.size())
        .allMatch(i -> Math.abs(expected.get(i) - found.get(i)) <= ROUNDING * expected.get(i));
  }

  private OptionalLong integer(String key) {
    return metadata.integer(prefix + key);
  }

  private OptionalDouble number(String key) {
    return metadata.number(prefix + key);
  }

  private long required(String key) {
    return integer(key).orElseThrow(() -> missing(key));
  }

  private double requiredNumber(String key) {
    return number(key).orElseThrow(() -> missing(key));
  }

  private BadInputException missing(String key) {
    return missing(key, "");
  }

  private BadInputException missing(String key, String more) {
    return new BadInputException(
        String.format(Locale.ROOT, "%s: metadata '%s%s' is missing%s", file, prefix, key, more));
  }
}
