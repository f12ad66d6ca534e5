package dev.laco.checkpoint.export;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.WrittenSizes;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.DType;
import dev.laco.model.GgufFamily;
import dev.laco.model.GgufFamily.Positions;
import dev.laco.model.GgufNames;
import dev.laco.model.GgufWeight;
import dev.laco.model.LatentAttention;
import dev.laco.model.LinearAttention;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import dev.laco.model.RouterSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Writes a model as a GGUF file, with the metadata and the names of llama.cpp's converter: matrices
 * in a chosen type, but for those that the checkpoint has in MXFP4 and that stay so; vectors in
 * F32; and the tokenizer.
 */
public final class GgufExport extends GgufFile {
  /** Tokens of a text over which angles are told. */
  private static final int TOKENS = 10_000;

  /** The angle, in radians, up to which a rotation may be left out. */
  private static final double LEAST_ANGLE = 1e-2;

  /** The version of the quantised types that llama.cpp reads. */
  private static final int QUANTISATION_VERSION = 2;

  /** Those of transformers where a config names none. */
  private final Checkpoint model;

  private final ModelConfig config;
  private final GgufType type;
  private final LlamaCppRules rules;
  private int inMxfp4;

  private final Consumer<String> warnings;

  /**
   * Prepares the file of a checkpoint; writes nothing yet.
   *
   * @param type of matrices: F32, F16, BF16 or Q8_0
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if llama.cpp cannot compute the model, or its tokenizer is broken
   */
  public GgufExport(Checkpoint model, GgufType type, Consumer<String> warnings) {
    this(model, model.config(), ModelWeights.of(model), type, warnings);
  }

  /**
   * Prepares the file of what was made of a checkpoint; writes nothing yet.
   *
   * @param original the checkpoint, which has the tokenizer
   * @param config of the model that is written
   * @param type of matrices: F32, F16, BF16 or Q8_0
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if llama.cpp cannot compute the model, or its tokenizer is broken
   */
  public GgufExport(
      Checkpoint original,
      ModelConfig config,
      ModelWeights weights,
      GgufType type,
      Consumer<String> warnings) {
    super(original, new GgufWriter());
    this.model = original;
    this.config = config;
    this.type = type;
    this.rules = rules(original, config);
    rules.require(warnings);
    if (config.architecture().isMultimodal()) {
      warnings.accept(
          "the file has the language model alone: llama.cpp takes images and sounds by the original's"
              + " mmproj file, which stays right");
    }
    if (original.hasPredictionLayers()) {
      warnings.accept("the layers that predict tokens beyond the next one are left out");
    }
    this.warnings = warnings;
    metadata(rules.family());
    GgufVocabulary.of(model, warnings).write(writer, config.vocabSize(), warnings);
    GgufTensors tensors = new GgufTensors(model.directory().toString(), weights);
    for (GgufWeight weight : GgufNames.all(config)) {
      boolean stays = staysMxfp4(model, weight, weights);
      inMxfp4 += stays ? 1 : 0;
      writer.tensor(tensors.tensor(weight, stays ? GgufType.MXFP4 : type));
    }
  }

  /**
   * The most bytes that the tensors of a file take that is made of a checkpoint.
   *
   * @param type of matrices
   * @param newWeights whether weights of layers may be computed, and not all be the original's
   */
  public static WrittenSizes sizes(Checkpoint model, GgufType type, boolean newWeights) {
    ModelConfig config = model.config();
    // Factors of rotations are two lists of half the width of a head.
    long factors = GgufType.F32.bytes(config.headDim());
    List<Long> layers = new ArrayList<>();
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      layers.add(bytes(model, GgufNames.layer(config, layer), type, newWeights));
    }
    return new WrittenSizes(factors + bytes(model, GgufNames.outside(config), type, false), layers);
  }

  private static long bytes(
      Checkpoint model, List<GgufWeight> tensors, GgufType type, boolean newWeights) {
    ModelWeights original = ModelWeights.of(model);
    return tensors.stream()
        .mapToLong(
            weight ->
                GgufTensors.byteSize(
                    weight,
                    !newWeights && staysMxfp4(model, weight, original) ? GgufType.MXFP4 : type))
        .sum();
  }

  /**
   * Refuses a checkpoint whose tokenizer is broken, so that no file can be made of it.
   *
   * @throws BadInputException naming what is wrong
   */
  public static void requireTokenizer(Checkpoint model) {
    GgufVocabulary.of(model, warning -> {});
  }

  /** Whether the values are those of weights that the checkpoint has in MXFP4. */
  private static boolean staysMxfp4(Checkpoint model, GgufWeight weight, ModelWeights weights) {
    return weight.rows().stream()
        .map(rows -> weights.original(rows.weight()))
        .allMatch(
            name -> name != null && model.storedType(name).name().equals(GgufType.MXFP4.name()));
  }

  /** The type of GGUF in which the values of this type stay what they are. */
  public static GgufType exact(DType dtype) {
    return GgufType.valueOf(dtype.name());
  }

  @Override
  public String types() {
    String matrices = "matrices " + type.shortName();
    return inMxfp4 == 0 ? matrices : matrices + ", " + inMxfp4 + " tensors of experts in MXFP4";
  }

  private void metadata(GgufFamily family) {
    String name = family.name();
    String prefix = name + ".";
    writer.string("general.architecture", name);
    writer.string("general.type", "model");
    writer.string("general.name", String.valueOf(model.directory().toAbsolutePath().getFileName()));
    writer.number("general.file_type", fileType());
    writer.number("general.quantization_version", QUANTISATION_VERSION);
    writer.number(prefix + "block_count", config.numHiddenLayers());
    writer.number(prefix + "context_length", config.maxPositionEmbeddings());
    writer.number(prefix + "embedding_length", config.hiddenSize());
    writer.number(prefix + "feed_forward_length", config.intermediateSize());
    writer.number(prefix + "attention.head_count", config.numAttentionHeads());
    if (config.latentAttention() == null) {
      if (family.hasConvolutions()) {
        writer.numbers(prefix + GgufNames.KEY_VALUE_HEADS, rules.keyValueHeads());
      } else {
        writer.number(prefix + GgufNames.KEY_VALUE_HEADS, config.numKeyValueHeads());
      }
      writer.number(prefix + "attention.key_length", config.headDim());
      writer.number(prefix + "attention.value_length", config.headDim());
    } else {
      latentAttention(prefix, config.latentAttention());
    }
    writer.real(
        prefix
            + (config.hasLayerNorms()
                ? "attention.layer_norm_epsilon"
                : "attention.layer_norm_rms_epsilon"),
        config.rmsNormEps());
    if (family.hasParallelKey()) {
      writer.bool(prefix + "use_parallel_residual", config.parallel());
    }
    writer.number(prefix + "vocab_size", config.vocabSize());
    boolean saysWindow =
        switch (family.windowKey()) {
          case WHERE_THERE -> rules.window() > 0;
          case ALWAYS -> true;
          case NEVER -> false;
        };
    if (saysWindow) {
      writer.number(prefix + "attention.sliding_window", rules.window());
    }
    if (rules.hasWindowPattern()) {
      writer.bools(prefix + "attention.sliding_window_pattern", rules.sliding());
    }
    for (GgufFamily.Value value : family.values()) {
      writer.real(prefix + value.key(), value.of().applyAsDouble(config));
    }
    if (config.attentionScores().softCap() > 0) {
      writer.real(prefix + "attn_logit_softcapping", config.attentionScores().softCap());
    }
    if (config.logits().softCap() > 0) {
      writer.real(prefix + "final_logit_softcapping", config.logits().softCap());
    }
    if (config.visualLayers() > 0) {
      writer.number(prefix + "n_deepstack_layers", config.visualLayers());
    }
    Mixture mixture = config.mixture();
    rules.leadingDense().ifPresent(dense -> writer.number(prefix + GgufNames.LEADING_DENSE, dense));
    if (mixture != null) {
      mixture(prefix, mixture);
    } else if (family.hasRouterInMetadata()) {
      // llama.cpp requires them of files of an architecture that has mixtures.
      writer.number(prefix + "expert_feed_forward_length", config.intermediateSize());
      writer.number(prefix + "expert_shared_count", 0);
    }
    if (config.linearAttention() != null) {
      linearAttention(prefix, config.linearAttention());
    }
    if (config.convolution() != null) {
      writer.number(prefix + GgufNames.CONVOLUTION_KERNEL, config.convolution().kernel());
    }
    RopeParameters rotation = rules.rotation();
    if (rotation != null) {
      rotary(prefix, rotation);
    }
  }

  /**
   * The sizes of latent vectors. llama.cpp attends to the latent vector of a token and its rotated
   * key, as if these were the key of one head that all queries share, and the latent vector its
   * value.
   */
  private void latentAttention(String prefix, LatentAttention sizes) {
    writer.number(prefix + GgufNames.KEY_VALUE_HEADS, 1);
    writer.number(prefix + "attention.key_length", sizes.rank() + sizes.rotated());
    writer.number(prefix + "attention.value_length", sizes.rank());
    writer.number(prefix + GgufNames.LATENT_QUERY_LENGTH, sizes.query());
    writer.number(prefix + GgufNames.LATENT_VALUE_LENGTH, sizes.value());
    writer.number(prefix + GgufNames.LATENT_RANK, sizes.rank());
    writer.number(prefix + GgufNames.QUERY_RANK, sizes.queryRank());
  }

  private void linearAttention(String prefix, LinearAttention sizes) {
    writer.number(prefix + "ssm.conv_kernel", sizes.kernel());
    writer.number(prefix + "ssm.state_size", sizes.key());
    writer.number(prefix + "ssm.group_count", sizes.keyHeads());
    writer.number(prefix + "ssm.time_step_rank", sizes.valueHeads());
    writer.number(prefix + "ssm.inner_size", sizes.values());
    int interval = rules.linear().indexOf(false) + 1;
    if (rules.isSoftmaxEvery(interval)) {
      writer.number(prefix + GgufNames.SOFTMAX_INTERVAL, interval);
    } else {
      writer.bools(prefix + GgufNames.LINEAR_LAYERS, rules.linear());
    }
  }

  private void mixture(String prefix, Mixture mixture) {
    writer.number(prefix + "expert_count", mixture.experts());
    writer.number(prefix + "expert_used_count", mixture.chosen());
    boolean saysRouter = rules.family().hasRouterInMetadata();
    if (config.architecture().hasExpertWidth() || mixture.gate() != null || saysRouter) {
      writer.number(prefix + "expert_feed_forward_length", mixture.width());
    }
    if (saysRouter) {
      router(prefix, mixture);
    }
    if (mixture.sharedWidth() > 0) {
      writer.number(prefix + "expert_shared_feed_forward_length", mixture.sharedWidth());
    }
  }

  private void router(String prefix, Mixture mixture) {
    RouterSpec router = mixture.router();
    writer.number(prefix + "expert_shared_count", mixture.sharedWidth() / mixture.width());
    writer.number(prefix + GgufNames.GATING, GgufNames.gating(router.scores()));
    writer.bool(prefix + "expert_weights_norm", router.normalised());
    writer.real(prefix + "expert_weights_scale", router.factor());
    rules.family().counts().forEach((key, count) -> writer.number(prefix + key, count));
    if (router.groups() != null) {
      writer.number(prefix + GgufNames.GROUPS, router.groups().count());
      writer.number(prefix + GgufNames.CHOSEN_GROUPS, router.groups().chosen());
    }
  }

  /** {@code llama_ftype} of llama.h. */
  private int fileType() {
    return switch (type) {
      case F32 -> 0;
      case F16 -> 1;
      case Q8_0 -> 7;
      case BF16 -> 32;
      default -> throw new IllegalArgumentException(type + " is not written");
    };
  }

  private void rotary(String prefix, RopeParameters rope) {
    writer.real(prefix + "rope.freq_base", rope.theta());
    Double ofWindows = rules.windowTheta();
    if (ofWindows != null) {
      writer.real(prefix + "rope.freq_base_swa", ofWindows);
    }
    int rotated = rope.rotated(config.rotaryDim());
    writer.number(prefix + "rope.dimension_count", rotated);
    Positions positions = rules.family().positions();
    if (positions != null) {
      writer.numbers(
          prefix + "rope.dimension_sections", sections(positions, rope.theta(), rotated / 2));
    }
    switch (rope.scaling()) {
      case RopeParameters.Default none -> {}
      case RopeParameters.Llama3 llama3 ->
          factors(GgufNames.ROPE_FACTORS, llama3.factors(rope.theta(), config.headDim()));
      case RopeParameters.Linear linear -> {
        writer.string(prefix + "rope.scaling.type", "linear");
        writer.real(prefix + "rope.scaling.factor", linear.factor());
      }
      case RopeParameters.Yarn yarn -> {
        writer.string(prefix + "rope.scaling.type", "yarn");
        writer.real(prefix + "rope.scaling.factor", yarn.factor());
        writer.number(prefix + "rope.scaling.original_context_length", yarn.originalPositions());
        writer.real(prefix + "rope.scaling.yarn_beta_fast", yarn.betaFast());
        writer.real(prefix + "rope.scaling.yarn_beta_slow", yarn.betaSlow());
        rules
            .yarnMultiplier(yarn)
            .ifPresent(number -> writer.real(prefix + GgufNames.YARN_MULTIPLIER, number));
      }
      case RopeParameters.Dynamic dynamic ->
          throw new IllegalArgumentException(dynamic + " is not written");
      case RopeParameters.LongRope longRope -> {
        writer.number(
            prefix + "rope.scaling.original_context_length", longRope.originalPositions());
        writer.real(prefix + "rope.scaling.attn_factor", longRope.attentionFactor());
        factors(GgufNames.LONG_FACTORS, longRope.longFactors());
        factors(GgufNames.SHORT_FACTORS, longRope.shortFactors());
      }
    }
  }

  /**
   * Pairs of elements that each of four positions rotates, of which images have three and texts one
   * three times. Where pairs take turns, one whose turn is behind the number of its position is the
   * fourth's in llama.cpp, and the first's in transformers.
   *
   * @param pairs of all positions
   */
  private List<Integer> sections(Positions positions, double theta, int pairs) {
    List<Integer> named = new ArrayList<>();
    Stream.of("rope_parameters", "rope_scaling")
        .map(key -> model.configValue(key).path("mrope_section"))
        .filter(JsonNode::isArray)
        .findFirst()
        .ifPresent(list -> list.forEach(section -> named.add(section.asInt())));
    List<Integer> sections = named.size() == 3 ? named : rules.family().usualSections();
    IntStream leftOver =
        switch (positions) {
          case IN_RUNS ->
              sections.stream().mapToInt(Integer::intValue).sum() == pairs
                  ? IntStream.empty()
                  : IntStream.of(0);
          case IN_TURN ->
              IntStream.range(0, pairs).filter(pair -> pair / 3 >= sections.get(pair % 3));
        };
    int fastest = leftOver.findFirst().orElse(pairs);
    if (fastest < pairs) {
      double angle = TOKENS * Math.pow(theta, -(double) fastest / pairs);
      String what = "an mrope_section of " + sections + " for " + pairs + " rotated pairs";
      if (angle > LEAST_ANGLE) {
        throw rules.unsupported(what);
      }
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp does not turn the pairs that are left over in texts, by %.1e radians in %,d tokens",
              what,
              angle,
              TOKENS));
    }
    return List.of(sections.get(0), sections.get(1), sections.get(2), 0);
  }

  private void factors(String name, List<Double> factors) {
    float[] values = new float[factors.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = factors.get(i).floatValue();
    }
    writer.tensor(
        new GgufWriter.Tensor(
            name,
            GgufType.F32,
            List.of((long) values.length),
            target -> {
              try (Arena arena = Arena.ofConfined()) {
                OutputTensor.write(arena.allocateFrom(ValueLayout.JAVA_FLOAT, values), target);
              }
            }));
  }
}
