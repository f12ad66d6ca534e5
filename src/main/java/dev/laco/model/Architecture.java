package dev.laco.model;

import com.fasterxml.jackson.databind.node.BooleanNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.IntPredicate;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

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
  /** {@code rope_theta} where a config has none. */
  private static final double DEFAULT_THETA = 10_000;

  /** What names of tensors begin with that predict tokens beyond the next one, beside layers. */
  private static final String PREDICTION = "model.mtp_";

  /** Whether projections have biases. */
  enum Biases {
    NEVER,
    ALWAYS,
    /**
     * Where {@code attention_bias} is true, or {@code mlp_bias} for the feed-forward network, or
     * the family's own {@link Builder#biasKey key}.
     */
    BY_CONFIG;

    boolean present(boolean configured) {
      return this == ALWAYS || (this == BY_CONFIG && configured);
    }
  }

  /** A rule that holds for some layers of a model. */
  @FunctionalInterface
  interface LayerRule {
    boolean holds(JsonFields config, int layer);
  }

  /**
   * The rotary embedding of layers that attend to a window, or of those that attend to all; null
   * for none.
   */
  @FunctionalInterface
  interface Rotation {
    @Nullable RopeParameters of(RopeParameters.Reader reader, boolean slides);
  }

  /**
   * What the norms of queries and keys take together: before the rotation, if not said otherwise.
   */
  enum QueryKeyNorm {
    /** Each head, all with the same weights. */
    EACH_HEAD,
    /** Each head behind its rotation, all with the same weights. */
    EACH_ROTATED_HEAD,
    /** Each head, with weights of its own. */
    EACH_HEAD_BY_OWN_WEIGHTS,
    ALL_HEADS
  }

  /** How many norms a layer has whose attention and feed-forward network are parallel. */
  enum ParallelNorms {
    /** Attention and feed-forward network read the same normalised input. */
    ONE,
    TWO
  }

  /** The kind of all norms of a family. */
  enum NormKind {
    /** Root mean square norm (Zhang and Sennrich 2019). */
    RMS,
    /** Layer norm (Ba et al. 2016) without biases. */
    LAYER,
    LAYER_WITH_BIAS
  }

  private final Builder parts;
  private final TensorNames names;

  /** The kind of models that have one of this family inside; null for the family itself. */
  private final @Nullable Multimodal around;

  /** What the names of tensors begin with, but for that of the head. */
  private final String begin;

  private Architecture(
      Builder parts, TensorNames names, @Nullable Multimodal around, String begin) {
    this.parts = parts;
    this.names = names;
    this.around = around;
    this.begin = begin;
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
   * The family of a GGUF file with this {@code general.architecture}.
   *
   * @param mixtures whether layers have mixtures of experts
   * @param scores what the logits of routers become, where the file says so
   * @param windows whether some layers attend to a window
   */
  public static Optional<Architecture> forGguf(
      String name, boolean mixtures, Optional<RouterSpec.Scores> scores, boolean windows) {
    Predicate<Architecture> scored =
        family ->
            scores.isEmpty()
                || family.mixture().stream().anyMatch(keys -> keys.scores() == scores.get());
    Predicate<Architecture> slides = family -> family.parts.slidingLayers.isPresent() == windows;
    // Of several families, the first that fits best.
    return all().stream()
        .filter(family -> family.gguf().stream().anyMatch(gguf -> gguf.name().equals(name)))
        .filter(family -> family.mixture().isPresent() == mixtures)
        .max(Comparator.comparing(scored::test).thenComparing(slides::test));
  }

  /** The parts of a family, beginning with those of a Llama without biases. */
  static final class Builder {
    private final String className;
    private final String modelType;
    private Optional<Architecture> otherForm = Optional.empty();
    private Predicate<JsonFields> inOtherForm = config -> false;
    private TensorNames names = TensorNames.LLAMA;
    private Biases queryKeyValueBias = Biases.NEVER;
    private Biases outputBias = Biases.NEVER;
    private Biases feedForwardBias = Biases.NEVER;
    private String attentionBiasKey = "attention_bias";
    private String feedForwardBiasKey = "mlp_bias";
    private boolean biasByDefault;
    private NormKind normKind = NormKind.RMS;
    private QueryKeyNorm queryKeyNorm = QueryKeyNorm.EACH_HEAD;
    private Predicate<JsonFields> queryKeyNormed = config -> false;
    private ParallelNorms parallelNorms = ParallelNorms.TWO;
    private Optional<Predicate<JsonFields>> parallel = Optional.empty();
    private double normOffset;
    private String epsKey = "rms_norm_eps";
    private double defaultEps = 1e-6;
    private boolean tiedByDefault;
    private Function<JsonFields, Activation> activation =
        config -> Activation.read(config, "hidden_act", Activation.SILU);
    private ToIntFunction<JsonFields> window = config -> 0;
    private Optional<LayerRule> slidingLayers = Optional.empty();
    private Optional<LayerRule> rotatedLayers = Optional.empty();
    private Rotation rotation = (reader, slides) -> reader.read(DEFAULT_THETA);
    private final List<String> switches = new ArrayList<>();
    private Consumer<JsonFields> check = config -> {};
    private List<String> buffers = List.of();
    private ToDoubleFunction<JsonFields> embeddingScale = config -> 1;
    private ToDoubleFunction<JsonFields> residualScale = config -> 1;
    private Optional<Function<JsonFields, LogitSpec>> attentionScores = Optional.empty();
    private Function<JsonFields, LogitSpec> logits = config -> LogitSpec.PLAIN;
    private ToIntFunction<JsonFields> keyValueHeads =
        config ->
            config.positiveOr(
                "num_key_value_heads", config.requiredPositive("num_attention_heads"));
    private ToIntFunction<JsonFields> channels =
        config -> config.requiredPositive("intermediate_size");
    private OptionalInt defaultHeadDim = OptionalInt.empty();
    private RopeParameters.Rotates rotates = RopeParameters.Rotates.WHOLE_HEADS;
    private RotaryPairs rotaryPairs = RotaryPairs.HALVES;
    private ToIntFunction<JsonFields> defaultPositions = config -> 2048;
    private Predicate<JsonFields> alibi = config -> false;
    private Predicate<JsonFields> unitHead = config -> false;
    private Optional<Mixture.Keys> mixture = Optional.empty();
    private boolean stackedExperts;
    private Optional<LatentAttention> latentAttention = Optional.empty();
    private Optional<LinearAttention> linearAttention = Optional.empty();
    private boolean convolution;
    private Optional<TokenMixer> otherMixer = Optional.empty();
    private LayerRule otherLayers = (config, layer) -> false;
    private boolean gatedHeads;
    private boolean correctionInRow;
    private ToIntFunction<JsonFields> predictionLayers = config -> 0;
    private Optional<String> predictionModule = Optional.empty();

    private final Set<Loader> loaders = EnumSet.of(Loader.TRANSFORMERS, Loader.VLLM);
    private Optional<IntPredicate> vllmSliding = Optional.empty();
    private Optional<GgufFamily> gguf = Optional.empty();

    private Builder(String className, String modelType) {
      this.className = className;
      this.modelType = modelType;
    }

    /** Models whose config says so are described by another form of the family. */
    Builder form(Predicate<JsonFields> where, Architecture other) {
      otherForm = Optional.of(other);
      inOtherForm = where;
      return this;
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

    /**
     * The key that says which biases there are {@link Biases#BY_CONFIG}, where all have one key.
     */
    Builder biasKey(String key, boolean byDefault) {
      attentionBiasKey = key;
      feedForwardBiasKey = key;
      biasByDefault = byDefault;
      return this;
    }

    /** There are {@link Biases#BY_CONFIG} biases where a config has no key of them. */
    Builder biasByDefault() {
      biasByDefault = true;
      return this;
    }

    /** Biases of the gate, up and down projections. */
    Builder feedForwardBiases(Biases biases) {
      feedForwardBias = biases;
      return this;
    }

    /** Other norms of the residual stream than those before attention and feed-forward network. */
    Builder norms(Map<LayerRole, String> suffixes) {
      names = names.withNorms(suffixes);
      return this;
    }

    /** Queries and keys have a norm. */
    Builder queryKeyNorm(QueryKeyNorm norm) {
      return queryKeyNorm(norm, config -> true);
    }

    /** Queries and keys have a norm where the config says so. */
    Builder queryKeyNorm(QueryKeyNorm norm, Predicate<JsonFields> where) {
      queryKeyNorm = norm;
      queryKeyNormed = where;
      return this;
    }

    /** The kind of all norms, and the key of their epsilon. */
    Builder norms(NormKind kind, String keyOfEps) {
      normKind = kind;
      epsKey = keyOfEps;
      return this;
    }

    /**
     * Where the config says so, attention and feed-forward network both read the input of the
     * layer.
     *
     * @param ofParallel the norms of such a layer; other layers have two
     */
    Builder parallel(ParallelNorms ofParallel, Predicate<JsonFields> where) {
      parallelNorms = ofParallel;
      parallel = Optional.of(where);
      return this;
    }

    /** The number that norms add to their weights. */
    Builder normOffset(double offset) {
      normOffset = offset;
      return this;
    }

    /** The epsilon of norms where the config has none. */
    Builder defaultEps(double eps) {
      defaultEps = eps;
      return this;
    }

    /**
     * The output projection is the embedding where the config has no {@code tie_word_embeddings}.
     */
    Builder tiedByDefault() {
      tiedByDefault = true;
      return this;
    }

    /** The activation of the feed-forward network, where it is not that of {@code hidden_act}. */
    Builder activation(Function<JsonFields, Activation> name) {
      activation = name;
      return this;
    }

    /**
     * The attention window, in tokens, 0 for none: that of all layers, unless {@link
     * #slidingLayers} is called, too.
     */
    Builder window(ToIntFunction<JsonFields> tokens) {
      window = tokens;
      return this;
    }

    /**
     * Only some layers have the window: those that {@code layer_types} names, and where the config
     * has no {@code layer_types}, those for which {@code otherwise} holds.
     */
    Builder slidingLayers(LayerRule otherwise) {
      slidingLayers = Optional.of(otherwise);
      return this;
    }

    /**
     * Only some layers rotate queries and keys: those with a 1 in {@code no_rope_layers}, and where
     * the config has no {@code no_rope_layers}, those for which {@code otherwise} holds.
     */
    Builder rotatedLayers(LayerRule otherwise) {
      rotatedLayers = Optional.of(otherwise);
      return this;
    }

    /** The rotary embedding, where it depends on the window or has an own default. */
    Builder rotation(Rotation parameters) {
      rotation = parameters;
      return this;
    }

    /** Refuses configs that switch on something that the engine does not compute. */
    Builder without(String switchKey) {
      switches.add(switchKey);
      return this;
    }

    /** Refuses configs of what the engine does not compute, by an error of {@code refuse}. */
    Builder check(Consumer<JsonFields> refuse) {
      check = refuse;
      return this;
    }

    /**
     * Tensors of a layer, by suffix, that older versions of transformers saved: they are no
     * weights.
     */
    Builder buffers(String... suffixes) {
      buffers = List.of(suffixes);
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

    /**
     * What becomes of the products of queries and keys; without this call they are multiplied by
     * {@code 1 / sqrt(head_dim)}.
     */
    Builder attentionScores(Function<JsonFields, LogitSpec> spec) {
      attentionScores = Optional.of(spec);
      return this;
    }

    /** What becomes of the products of last hidden states and output projection. */
    Builder logits(Function<JsonFields, LogitSpec> spec) {
      logits = spec;
      return this;
    }

    /**
     * {@code head_dim} where the config has no such key; without this call, and where it is {@code
     * null}, it is {@code hidden_size / num_attention_heads}.
     */
    Builder defaultHeadDim(int width) {
      defaultHeadDim = OptionalInt.of(width);
      return this;
    }

    /** The number of key and value heads, where it is not {@code num_key_value_heads}. */
    Builder keyValueHeads(ToIntFunction<JsonFields> count) {
      keyValueHeads = count;
      return this;
    }

    /**
     * {@code num_key_value_heads} where the config has no such key; {@code null} stands for one
     * each head of queries.
     */
    Builder defaultKeyValueHeads(int count) {
      return keyValueHeads(
          config -> {
            int given = config.positiveOrNull("num_key_value_heads", count);
            return given > 0 ? given : config.requiredPositive("num_attention_heads");
          });
    }

    /** The channels of a feed-forward network, where they are not {@code intermediate_size}. */
    Builder channels(ToIntFunction<JsonFields> count) {
      channels = count;
      return this;
    }

    /** Which part of a head is rotated. */
    Builder rotates(RopeParameters.Rotates which) {
      rotates = which;
      return this;
    }

    /** Which elements of a head the rotation takes as pairs. */
    Builder rotaryPairs(RotaryPairs layout) {
      rotaryPairs = layout;
      return this;
    }

    /** {@code max_position_embeddings} where the config has none. */
    Builder defaultPositions(int positions) {
      return defaultPositions(config -> positions);
    }

    /** Likewise, where the number stands elsewhere in a config. */
    Builder defaultPositions(ToIntFunction<JsonFields> positions) {
      defaultPositions = positions;
      return this;
    }

    /**
     * Which configs have attention scores that fall with distance (ALiBi, Press et al. 2022);
     * {@link #rotation} says that layers do not rotate then.
     */
    Builder alibi(Predicate<JsonFields> configs) {
      alibi = configs;
      return this;
    }

    /** Which configs divide each row of the output projection by its length. */
    Builder unitHead(Predicate<JsonFields> configs) {
      unitHead = configs;
      return this;
    }

    /** This program opens the family's checkpoints, too. */
    Builder knownTo(Loader loader) {
      loaders.add(loader);
      return this;
    }

    /** This program does not open the family's checkpoints. */
    Builder unknownTo(Loader loader) {
      loaders.remove(loader);
      return this;
    }

    /** vLLM gives these layers a window, whatever a config says. */
    Builder vllmSliding(IntPredicate layers) {
      vllmSliding = Optional.of(layers);
      return this;
    }

    /** GGUF files of the family. */
    Builder gguf(GgufFamily files) {
      gguf = Optional.of(files);
      loaders.add(Loader.LLAMA_CPP);
      return this;
    }

    /**
     * Attention has {@link LatentAttention latent vectors}.
     *
     * @param sizes of configs that do not say them
     */
    Builder latentAttention(LatentAttention sizes) {
      latentAttention = Optional.of(sizes);
      return keyValueHeads(Architecture::asManyAsQueries);
    }

    /**
     * Some layers have {@link LinearAttention}: those that {@code layer_types} names, and where the
     * config has no {@code layer_types}, those for which {@code otherwise} holds.
     *
     * @param sizes of configs that do not say them
     */
    Builder linearAttention(LinearAttention sizes, LayerRule otherwise) {
      linearAttention = Optional.of(sizes);
      otherMixer = Optional.of(TokenMixer.LINEAR_ATTENTION);
      otherLayers = otherwise;
      return this;
    }

    /**
     * Some layers have a {@link ShortConvolution} in the place of attention: those that {@code
     * layer_types} names, and where the config has no {@code layer_types}, those for which {@code
     * otherwise} holds.
     */
    Builder shortConvolution(LayerRule otherwise) {
      convolution = true;
      otherMixer = Optional.of(TokenMixer.CONVOLUTION);
      otherLayers = otherwise;
      return this;
    }

    /**
     * The outputs of heads are multiplied by the sigmoid of gates, whose rows in the projection of
     * queries follow those of each head's query.
     */
    Builder gatedHeads() {
      gatedHeads = true;
      return this;
    }

    /** Layers have mixtures of experts, which a config describes by these keys. */
    Builder mixture(Mixture.Keys keys) {
      mixture = Optional.of(keys);
      return this;
    }

    /** Some checkpoints have the {@link TensorNames#STACKED_EXPERTS matrices of all experts}. */
    Builder stackedExperts() {
      stackedExperts = true;
      return this;
    }

    /** The correction of the choice of experts is stored as a matrix of one row. */
    Builder correctionInRow() {
      correctionInRow = true;
      return this;
    }

    /**
     * Checkpoints have layers that predict tokens beyond the next one (multi-token prediction,
     * Gloeckle et al. 2024): so many as this key says.
     */
    Builder predictionLayers(String key, int byDefault) {
      predictionLayers = config -> config.countOr(key, byDefault);
      return this;
    }

    /** Tensors whose names begin so predict tokens beyond the next one, beside the layers. */
    Builder predictionModule(String begin) {
      predictionModule = Optional.of(begin);
      return this;
    }

    Architecture build() {
      return new Architecture(this, names, null, "");
    }
  }

  /** The class name in {@code config.json}. */
  public String className() {
    return around == null ? parts.className : around.className();
  }

  /** {@code model_type} in {@code config.json}. */
  public String modelType() {
    return around == null ? parts.modelType : around.modelType();
  }

  /** The family as the language model of a model of several kinds of input. */
  Architecture inside(Multimodal model, Multimodal.Place place) {
    return new Architecture(parts, place.of(parts.names), model, place.begin());
  }

  /** The family with its experts as a checkpoint of these tensors has them. */
  Architecture storedAs(StoredShapes stored, Mixture mixture, long hidden) {
    TensorNames stacked = names.withExperts(TensorNames.STACKED_EXPERTS);
    int layer = mixture.firstWithout();
    long experts = mixture.experts();
    long width = mixture.width();
    // Transposed matrices of one of the two may have the same shape, those of both have not.
    boolean rowsAreOutputs =
        stored
                .of(stacked.of(layer, stacked.suffix(LayerRole.UP, 0)))
                .equals(Optional.of(List.of(experts, 2 * width, hidden)))
            && stored
                .of(stacked.of(layer, stacked.suffix(LayerRole.DOWN, 0)))
                .equals(Optional.of(List.of(experts, hidden, width)));
    return parts.stackedExperts && rowsAreOutputs
        ? new Architecture(parts, stacked, around, begin)
        : this;
  }

  /**
   * Whether a model is a language model beside encoders of images or sounds, which are no part of
   * what the engine runs.
   */
  public boolean isMultimodal() {
    return around != null;
  }

  /** Whether a tensor is one of a multimodal model, and not of its language model. */
  public boolean isBeside(String tensor) {
    return !tensor.startsWith(begin) && !tensor.equals(names.head());
  }

  /** The programs of other people that open checkpoints of this family. */
  public Set<Loader> loaders() {
    return around == null ? Collections.unmodifiableSet(parts.loaders) : around.loaders();
  }

  /**
   * Why a program does not run a model of this family as its config describes it, and how pruning
   * avoids that, as the end of a sentence that begins with the program; null where it does.
   */
  public @Nullable String whyNot(Loader loader, ModelConfig config) {
    if (!loaders().contains(loader)) {
      return "does not know the architecture";
    }
    boolean asVllmHasIt =
        parts
            .vllmSliding
            .map(
                sliding ->
                    IntStream.range(0, config.numHiddenLayers())
                        .allMatch(
                            layer ->
                                sliding.test(layer) == config.attention().get(layer).window() > 0))
            .orElse(true);
    if (loader == Loader.VLLM && !asVllmHasIt) {
      return "gives layers the window by their positions, whatever layer_types says, and so computes"
          + " the pruned model differently; an alignment of 2 keeps the layers that it expects";
    }
    boolean noSoftmax = config.attention().stream().noneMatch(LayerAttention::hasSoftmax);
    if (loader == Loader.TRANSFORMERS && noSoftmax) {
      return "generates no text from a model none of whose layers has attention by a softmax; an"
          + " alignment with the period of the layers' types keeps such layers";
    }
    return loader == Loader.LLAMA_CPP && config.mixesTokensAlike()
        ? "aborts on a model of this architecture whose layers are all of one kind; an alignment with"
            + " the period of the layers' types keeps both kinds"
        : null;
  }

  /**
   * Why rules that solve for weights do not hold for models of this family, as the end of a
   * sentence; null where they hold.
   */
  public @Nullable String whyNoFit() {
    if (parts.mixture.isPresent()) {
      return "its layers have mixtures of experts, not one feed-forward network to solve for";
    }
    return normsOutputs()
        ? "norms follow its down projections, so that what layers add is not linear in them"
        : null;
  }

  /**
   * Why of the rules that fit weights only those hold that change down projections alone, as the
   * end of a sentence; null where all hold, or {@link #whyNoFit none}.
   */
  public @Nullable String whyOnlyDown() {
    if (whyNoFit() != null) {
      return null;
    }
    if (!isGated()) {
      return "its feed-forward networks have no gate";
    }
    if (parts.normKind == NormKind.LAYER_WITH_BIAS) {
      return "its norms have biases, which a fit does not carry into the projections behind them";
    }
    return parts.parallel.isPresent()
        ? "its feed-forward networks read the stream before attention, where channels of several"
            + " layers have no common input"
        : null;
  }

  /** The family's GGUF files; empty where there are none. */
  public Optional<GgufFamily> gguf() {
    return around == null || around.loaders().contains(Loader.LLAMA_CPP)
        ? parts.gguf
        : Optional.empty();
  }

  /** The key of {@code config.json} that says whether projections of attention have biases. */
  public String attentionBiasKey() {
    return parts.attentionBiasKey;
  }

  /** The key that says whether projections of the feed-forward network have biases. */
  public String feedForwardBiasKey() {
    return parts.feedForwardBiasKey;
  }

  boolean attentionBias(JsonFields config) {
    return config.booleanOr(parts.attentionBiasKey, parts.biasByDefault);
  }

  boolean feedForwardBias(JsonFields config) {
    return parts.feedForwardBias.present(
        config.booleanOr(parts.feedForwardBiasKey, parts.biasByDefault));
  }

  Biases queryKeyValueBias() {
    return parts.queryKeyValueBias;
  }

  Biases outputBias() {
    return parts.outputBias;
  }

  /** Whether norms are layer norms; else they are RMS norms. */
  public boolean hasLayerNorms() {
    return parts.normKind != NormKind.RMS;
  }

  boolean queryKeyNorm(JsonFields config) {
    return parts.queryKeyNormed.test(config);
  }

  boolean normsRotatedHeads() {
    return parts.queryKeyNorm == QueryKeyNorm.EACH_ROTATED_HEAD;
  }

  boolean parallel(JsonFields config) {
    return parts.parallel.stream().anyMatch(where -> where.test(config));
  }

  /** The key of the epsilon of norms. */
  public String epsKey() {
    return parts.epsKey;
  }

  double normOffset() {
    return parts.normOffset;
  }

  double defaultEps() {
    return parts.defaultEps;
  }

  boolean tiedByDefault() {
    return parts.tiedByDefault;
  }

  Activation activation(JsonFields config) {
    return parts.activation.apply(config);
  }

  int window(JsonFields config) {
    return parts.window.applyAsInt(config);
  }

  /** Whether the config's list of this name says which attention each layer has. */
  boolean readsList(String key) {
    return (key.equals(LayerAttentions.TYPES)
            && (parts.slidingLayers.isPresent() || mixesTokensUnlike()))
        || (key.equals(LayerAttentions.ROTATED) && parts.rotatedLayers.isPresent());
  }

  boolean slides(JsonFields config, int layer) {
    return parts.slidingLayers.map(rule -> rule.holds(config, layer)).orElse(true);
  }

  boolean rotates(JsonFields config, int layer) {
    return parts.rotatedLayers.map(rule -> rule.holds(config, layer)).orElse(true);
  }

  @Nullable RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return parts.rotation.of(reader, slides);
  }

  /** Refuses a config of something that the engine does not compute. */
  void check(JsonFields config) {
    parts.check.accept(config);
    for (String key : parts.switches) {
      if (config.has(key) && !config.node().get(key).equals(BooleanNode.FALSE)) {
        throw config.error(key, "false, which alone is supported");
      }
    }
  }

  boolean headsInterleaved() {
    return names.has(LayerRole.QUERY_KEY_VALUE);
  }

  boolean expertsTransposed() {
    return names.expertsHave(LayerRole.GATE_UP_TRANSPOSED);
  }

  boolean linearHeadsByKey() {
    return names.has(LayerRole.LINEAR_HEADS_GATE);
  }

  boolean isGated() {
    return names.has(LayerRole.GATE) || parts.mixture.isPresent();
  }

  /** Whether a norm follows the output projections of attention and feed-forward network. */
  boolean normsOutputs() {
    return names.has(LayerRole.FEED_FORWARD_OUTPUT_NORM);
  }

  double embeddingScale(JsonFields config) {
    return parts.embeddingScale.applyAsDouble(config);
  }

  double residualScale(JsonFields config) {
    return parts.residualScale.applyAsDouble(config);
  }

  LogitSpec attentionScores(JsonFields config, int headDim) {
    return parts
        .attentionScores
        .map(spec -> spec.apply(config))
        .orElseGet(() -> new LogitSpec(1 / Math.sqrt(headDim), 0));
  }

  LogitSpec logits(JsonFields config) {
    return parts.logits.apply(config);
  }

  /** The form of the family that describes the model of a config. */
  Architecture form(JsonFields config) {
    return parts.otherForm.filter(other -> parts.inOtherForm.test(config)).orElse(this);
  }

  int keyValueHeads(JsonFields config) {
    return parts.keyValueHeads.applyAsInt(config);
  }

  int channels(JsonFields config) {
    return parts.channels.applyAsInt(config);
  }

  OptionalInt defaultHeadDim() {
    return parts.defaultHeadDim;
  }

  /** Whether a config says which part of a head is rotated. */
  public boolean rotatesParts() {
    return parts.rotates.partial();
  }

  RopeParameters.Rotates rotates() {
    return parts.rotates;
  }

  RotaryPairs rotaryPairs() {
    return parts.rotaryPairs;
  }

  /** Each head has keys of its own where attention has latent vectors. */
  private static int asManyAsQueries(JsonFields config) {
    int heads = config.requiredPositive("num_attention_heads");
    if (config.positiveOr("num_key_value_heads", heads) != heads) {
      throw config.error("num_key_value_heads", "as many as num_attention_heads, " + heads);
    }
    return heads;
  }

  /** The sizes of attention with latent vectors; null where the family has none. */
  @Nullable LatentAttention latentAttention(JsonFields config) {
    return parts.latentAttention.map(sizes -> LatentAttention.read(config, sizes)).orElse(null);
  }

  /** The sizes of linear attention; null where the family has none. */
  @Nullable LinearAttention linearAttention(JsonFields config) {
    return parts.linearAttention.map(sizes -> LinearAttention.read(config, sizes)).orElse(null);
  }

  /** The sizes of the convolutions of layers that have such; null where the family has none. */
  @Nullable ShortConvolution convolution(JsonFields config) {
    return parts.convolution ? ShortConvolution.read(config) : null;
  }

  /** What some layers have in the place of attention by a softmax; null where all have that. */
  @Nullable TokenMixer otherMixer() {
    return parts.otherMixer.orElse(null);
  }

  /** Whether some layers have attention by a softmax, and others something in its place. */
  public boolean mixesTokensUnlike() {
    return parts.otherMixer.isPresent();
  }

  /** Whether a layer has the {@link #otherMixer}, where the config has no list of them. */
  boolean hasOtherMixer(JsonFields config, int layer) {
    return parts.otherLayers.holds(config, layer);
  }

  /** Whether outputs of heads have gates, whose rows follow those of each head's query. */
  boolean hasGatedHeads() {
    return parts.gatedHeads;
  }

  Optional<Mixture.Keys> mixture() {
    return parts.mixture;
  }

  /**
   * Describes mixtures of experts by the keys that configs of this family have.
   *
   * @param width inner width of an expert; null where it is that of a layer without mixture
   * @param ofChosen whether shares are a softmax over the chosen experts
   */
  public void describeMixtures(
      ObjectNode config, long experts, long chosen, @Nullable Long width, boolean ofChosen) {
    Mixture.Keys keys = parts.mixture.orElseThrow();
    config.put(keys.experts().getFirst(), experts);
    config.put(keys.chosen(), chosen);
    if (keys.isNormalisedByConfig()) {
      config.put("norm_topk_prob", ofChosen);
    }
    if (width != null) {
      config.put(keys.width(), width);
    }
  }

  /** What the logits of the family's routers become; the family has mixtures. */
  public RouterSpec.Scores routerScores() {
    return parts.mixture.orElseThrow().scores();
  }

  /** Whether configs have the inner width of experts beside that of other layers. */
  public boolean hasExpertWidth() {
    return parts.mixture.filter(keys -> !keys.width().equals("intermediate_size")).isPresent();
  }

  /** The layers of a checkpoint that predict tokens beyond the next one. */
  int predictionLayers(JsonFields config) {
    return parts.predictionLayers.applyAsInt(config);
  }

  /**
   * Whether a tensor predicts tokens beyond the next one: it belongs to a layer behind the last, or
   * stands beside the layers by a name of its own.
   */
  public boolean isOfPrediction(String tensor, ModelConfig config) {
    if (parts.predictionModule.filter(tensor::startsWith).isPresent()) {
      return true;
    }
    int depth = config.numHiddenLayers();
    return config.predictionLayers() > 0
        && (tensor.startsWith(PREDICTION)
            || layerOf(tensor).stream()
                .anyMatch(l -> l >= depth && l - depth < config.predictionLayers()));
  }

  /**
   * The name, in a model of another depth, of a tensor that stays as it is: layers behind the last
   * stay behind it.
   */
  public String nameBeside(String tensor, ModelConfig config, int depth) {
    OptionalInt layer = isOfPrediction(tensor, config) ? layerOf(tensor) : OptionalInt.empty();
    return layer.isEmpty()
        ? tensor
        : names.moved(tensor, layer.getAsInt() - config.numHiddenLayers() + depth);
  }

  int defaultPositions(JsonFields config) {
    return parts.defaultPositions.applyAsInt(config);
  }

  boolean hasAlibi(JsonFields config) {
    return parts.alibi.test(config);
  }

  boolean hasUnitHead(JsonFields config) {
    return parts.unitHead.test(config);
  }

  /** Name of a tensor of layer {@code layer}. */
  public String tensorName(int layer, TensorSpec spec) {
    return names.of(layer, spec.suffix());
  }

  /** Names of all tensors of layer {@code layer}. */
  public List<String> tensorNames(int layer, ModelConfig config) {
    return layerTensors(config, layer).stream().map(spec -> tensorName(layer, spec)).toList();
  }

  /** The layer that a tensor of this name belongs to; empty where it is outside the layers. */
  public OptionalInt layerOf(String tensorName) {
    return names.layerOf(tensorName);
  }

  /** Whether a tensor of this name is a buffer that older versions of transformers saved. */
  public boolean isBuffer(String tensorName) {
    return tensorName.endsWith("rotary_emb.inv_freq")
        || layerOf(tensorName).stream()
            .anyMatch(
                layer ->
                    parts.buffers.stream()
                        .anyMatch(suffix -> names.of(layer, suffix).equals(tensorName)));
  }

  /** Name of the token embedding, {@code [V, d]}. */
  public String embedding() {
    return names.embedding();
  }

  /** Name of the final norm's weight, {@code [d]}. */
  public String finalNorm() {
    return names.finalNorm();
  }

  /** Name of the final norm's bias, {@code [d]}; empty where norms have no biases. */
  public Optional<String> finalNormBias() {
    return parts.normKind == NormKind.LAYER_WITH_BIAS
        ? Optional.of(names.finalNormBias())
        : Optional.empty();
  }

  /** Names of all tensors of the final norm. */
  public List<String> finalNormTensors() {
    return Stream.concat(Stream.of(finalNorm()), finalNormBias().stream()).toList();
  }

  /** Name of the output projection, {@code [V, d]}; absent where it is tied to the embedding. */
  public String head() {
    return names.head();
  }

  /** The tensors of a layer, in the order in which a forward pass first uses them. */
  public List<TensorSpec> layerTensors(ModelConfig config, int layer) {
    long hidden = config.hiddenSize();
    TokenMixer mixer = config.attention().get(layer).mixer();
    Stored tensors = new Stored(namesOf(mixer));
    addInputNorm(
        tensors, LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, hidden);
    switch (mixer) {
      case SOFTMAX -> addAttention(tensors, config);
      case LINEAR_ATTENTION ->
          addLinearAttention(tensors, Objects.requireNonNull(config.linearAttention()), hidden);
      case CONVOLUTION -> addConvolution(tensors, Objects.requireNonNull(config.convolution()));
    }
    tensors.norm(LayerRole.ATTENTION_OUTPUT_NORM, hidden);
    if (!config.parallel() || parts.parallelNorms == ParallelNorms.TWO) {
      addInputNorm(
          tensors,
          LayerRole.FEED_FORWARD_INPUT_NORM,
          LayerRole.FEED_FORWARD_INPUT_NORM_BIAS,
          hidden);
    }
    Mixture mixture = config.mixture(layer);
    if (mixture == null) {
      addFeedForward(tensors, config);
    } else {
      addMixture(tensors, mixture, hidden);
    }
    return tensors.list();
  }

  /** The names of the tensors of layers by what they have in the place of attention. */
  private TensorNames namesOf(TokenMixer mixer) {
    return switch (mixer) {
      case SOFTMAX -> names;
      case LINEAR_ATTENTION -> names.with(Map.of(LayerRole.OUTPUT, LinearAttention.OUTPUT));
      case CONVOLUTION -> names.with(Map.of(LayerRole.OUTPUT, ShortConvolution.OUTPUT));
    };
  }

  private static void addConvolution(Stored tensors, ShortConvolution sizes) {
    long width = sizes.width();
    tensors.matrix(LayerRole.CONVOLUTION_GATE, width, width);
    tensors.matrix(LayerRole.CONVOLUTION_OUTPUT_GATE, width, width);
    tensors.matrix(LayerRole.CONVOLUTION_INPUT, width, width);
    addKernel(tensors, width, sizes.kernel());
    tensors.matrix(LayerRole.OUTPUT, width, width);
  }

  /** The weights of a causal convolution, which PyTorch stores as {@code [columns, 1, kernel]}. */
  private static void addKernel(Stored tensors, long columns, long kernel) {
    tensors.add(LayerRole.CONVOLUTION, LayerPart.NO_EXPERT, columns, List.of(1L, kernel));
  }

  private void addLinearAttention(Stored tensors, LinearAttention sizes, long hidden) {
    if (linearHeadsByKey()) {
      tensors.matrix(LayerRole.LINEAR_HEADS_GATE, sizes.heads() + sizes.values(), hidden);
      tensors.matrix(LayerRole.LINEAR_RATE_DECAY, 2L * sizes.valueHeads(), hidden);
    } else {
      tensors.matrix(LayerRole.LINEAR_HEADS, sizes.heads(), hidden);
      tensors.matrix(LayerRole.LINEAR_GATE, sizes.values(), hidden);
      tensors.matrix(LayerRole.LINEAR_RATE, sizes.valueHeads(), hidden);
      tensors.matrix(LayerRole.LINEAR_DECAY, sizes.valueHeads(), hidden);
    }
    addKernel(tensors, sizes.heads(), sizes.kernel());
    tensors.vector(LayerRole.LOG_DECAY, sizes.valueHeads());
    tensors.vector(LayerRole.DECAY_BIAS, sizes.valueHeads());
    tensors.vector(LayerRole.LINEAR_NORM, sizes.value());
    tensors.matrix(LayerRole.OUTPUT, hidden, sizes.values());
  }

  private void addAttention(Stored tensors, ModelConfig config) {
    long hidden = config.hiddenSize();
    long queries = (long) config.numAttentionHeads() * config.headDim();
    long keys = (long) config.numKeyValueHeads() * config.headDim();
    LatentAttention latent = config.latentAttention();
    if (latent != null) {
      addLatents(tensors, latent, config.numAttentionHeads(), hidden);
    } else if (headsInterleaved()) {
      tensors.matrix(LayerRole.QUERY_KEY_VALUE, queries + 2 * keys, hidden);
    } else {
      tensors.matrix(LayerRole.QUERY, hasGatedHeads() ? 2 * queries : queries, hidden);
      tensors.matrix(LayerRole.KEY, keys, hidden);
      tensors.matrix(LayerRole.VALUE, keys, hidden);
    }
    tensors.matrix(LayerRole.OUTPUT, hidden, config.attendedWidth(TokenMixer.SOFTMAX));
    if (config.queryKeyValueBias() && headsInterleaved()) {
      tensors.vector(LayerRole.QUERY_KEY_VALUE_BIAS, queries + 2 * keys);
    } else if (config.queryKeyValueBias()) {
      tensors.vector(LayerRole.QUERY_BIAS, hasGatedHeads() ? 2 * queries : queries);
      tensors.vector(LayerRole.KEY_BIAS, keys);
      tensors.vector(LayerRole.VALUE_BIAS, keys);
    }
    if (config.outputBias()) {
      tensors.vector(LayerRole.OUTPUT_BIAS, hidden);
    }
    if (names.has(LayerRole.SINKS)) {
      tensors.vector(LayerRole.SINKS, config.numAttentionHeads());
    }
    if (config.queryKeyNorm()) {
      addHeadNorm(tensors, LayerRole.QUERY_NORM, config.numAttentionHeads(), config.headDim());
      addHeadNorm(tensors, LayerRole.KEY_NORM, config.numKeyValueHeads(), config.headDim());
    }
  }

  private void addInputNorm(Stored tensors, LayerRole weight, LayerRole bias, long width) {
    tensors.norm(weight, width);
    if (parts.normKind == NormKind.LAYER_WITH_BIAS) {
      tensors.norm(bias, width);
    }
  }

  /** The projections in front of attention with latent vectors. */
  private static void addLatents(Stored tensors, LatentAttention latent, long heads, long hidden) {
    long rank = latent.queryRank();
    if (rank == 0) {
      tensors.matrix(LayerRole.QUERY, heads * latent.query(), hidden);
    } else {
      tensors.matrix(LayerRole.QUERY_COMPRESSION, rank, hidden);
      tensors.vector(LayerRole.QUERY_LATENT_NORM, rank);
      tensors.matrix(LayerRole.QUERY_EXPANSION, heads * latent.query(), rank);
    }
    tensors.matrix(LayerRole.KEY_VALUE_COMPRESSION, latent.rank(), hidden);
    tensors.matrix(LayerRole.ROTATED_KEY, latent.rotated(), hidden);
    tensors.vector(LayerRole.KEY_VALUE_LATENT_NORM, latent.rank());
    tensors.matrix(
        LayerRole.KEY_VALUE_EXPANSION,
        heads * (latent.unrotated() + latent.value()),
        latent.rank());
  }

  private void addHeadNorm(Stored tensors, LayerRole role, long heads, long width) {
    switch (parts.queryKeyNorm) {
      case EACH_HEAD, EACH_ROTATED_HEAD -> tensors.vector(role, width);
      case EACH_HEAD_BY_OWN_WEIGHTS -> tensors.matrix(role, heads, width);
      case ALL_HEADS -> tensors.vector(role, heads * width);
    }
  }

  private void addFeedForward(Stored tensors, ModelConfig config) {
    long hidden = config.hiddenSize();
    long inner = config.intermediateSize();
    if (isGated()) {
      tensors.matrix(LayerRole.GATE, inner, hidden);
    }
    tensors.matrix(LayerRole.UP, inner, hidden);
    tensors.matrix(LayerRole.DOWN, hidden, inner);
    tensors.norm(LayerRole.FEED_FORWARD_OUTPUT_NORM, hidden);
    if (config.mlpBias()) {
      if (isGated()) {
        tensors.vector(LayerRole.GATE_BIAS, inner);
      }
      tensors.vector(LayerRole.UP_BIAS, inner);
      tensors.vector(LayerRole.DOWN_BIAS, hidden);
    }
  }

  private void addMixture(Stored tensors, Mixture mixture, long hidden) {
    tensors.matrix(LayerRole.ROUTER, mixture.experts(), hidden);
    if (names.has(LayerRole.ROUTER_BIAS)) {
      tensors.vector(LayerRole.ROUTER_BIAS, mixture.experts());
    }
    if (names.has(LayerRole.ROUTER_CORRECTION)) {
      long rows = parts.correctionInRow ? 1 : mixture.experts();
      List<Long> columns = parts.correctionInRow ? List.of((long) mixture.experts()) : List.of();
      tensors.add(LayerRole.ROUTER_CORRECTION, LayerPart.NO_EXPERT, rows, columns);
    }
    long width = mixture.width();
    for (int expert = 0; expert < mixture.experts(); expert++) {
      if (expertsTransposed()) {
        tensors.add(LayerRole.GATE_UP_TRANSPOSED, expert, hidden, List.of(2 * width));
        tensors.biasOfExpert(LayerRole.GATE_UP_BIAS, expert, 2 * width);
        tensors.add(LayerRole.DOWN_TRANSPOSED, expert, width, List.of(hidden));
        tensors.biasOfExpert(LayerRole.DOWN_BIAS, expert, hidden);
      } else {
        tensors.add(LayerRole.GATE, expert, width, List.of(hidden));
        tensors.add(LayerRole.UP, expert, width, List.of(hidden));
        tensors.add(LayerRole.DOWN, expert, hidden, List.of(width));
      }
    }
    if (mixture.sharedWidth() > 0) {
      if (names.has(LayerRole.SHARED_ROUTER)) {
        tensors.matrix(LayerRole.SHARED_ROUTER, 1, hidden);
      }
      tensors.matrix(LayerRole.SHARED_GATE, mixture.sharedWidth(), hidden);
      tensors.matrix(LayerRole.SHARED_UP, mixture.sharedWidth(), hidden);
      tensors.matrix(LayerRole.SHARED_DOWN, hidden, mixture.sharedWidth());
    }
  }

  /** The tensor of a layer that has this role, alone or among others. */
  public TensorSpec layerTensor(ModelConfig config, int layer, LayerRole role) {
    return layerTensors(config, layer).stream()
        .filter(spec -> spec.has(role))
        .findFirst()
        .orElseThrow();
  }

  /** The tensors of a layer while they are listed: roles of one name become rows of one tensor. */
  private static final class Stored {
    private final TensorNames names;
    private final SequencedMap<String, Rows> bySuffix = new LinkedHashMap<>();

    Stored(TensorNames names) {
      this.names = names;
    }

    /** A norm of the residual stream, if the family has one in this place. */
    void norm(LayerRole role, long width) {
      if (names.has(role)) {
        vector(role, width);
      }
    }

    /** A bias of an expert, if the family's experts have it. */
    void biasOfExpert(LayerRole role, int expert, long width) {
      if (names.expertsHave(role)) {
        add(role, expert, 1, List.of(width));
      }
    }

    void vector(LayerRole role, long elements) {
      add(role, LayerPart.NO_EXPERT, elements, List.of());
    }

    void matrix(LayerRole role, long rows, long columns) {
      add(role, LayerPart.NO_EXPERT, rows, List.of(columns));
    }

    void add(LayerRole role, int expert, long rows, List<Long> columns) {
      bySuffix
          .computeIfAbsent(names.suffix(role, expert), _ -> new Rows(columns))
          .add(new LayerPart(role, expert), rows);
    }

    List<TensorSpec> list() {
      List<TensorSpec> specs = new ArrayList<>();
      bySuffix.forEach((suffix, rows) -> specs.add(byExpert(rows.of(suffix))));
      return specs;
    }

    /** The rows of one tensor. */
    private static final class Rows {
      private final List<Long> columns;
      private final List<TensorSpec.Part> parts = new ArrayList<>();
      private long count;

      Rows(List<Long> columns) {
        this.columns = columns;
      }

      void add(LayerPart part, long rows) {
        parts.add(new TensorSpec.Part(part, count, count + rows));
        count += rows;
      }

      TensorSpec of(String suffix) {
        List<Long> shape = new ArrayList<>(columns);
        shape.addFirst(count);
        return new TensorSpec(suffix, shape, parts);
      }
    }

    /** A tensor of the matrices of all experts has one extent more: their number. */
    private TensorSpec byExpert(TensorSpec spec) {
      TensorSpec.Part last = spec.parts().getLast();
      boolean matrices = last.role().group() != TensorGroup.NORMS;
      if (last.expert() == LayerPart.NO_EXPERT || !matrices || !names.isOfAllExperts(last.role())) {
        return spec;
      }
      long experts = last.expert() + 1L;
      List<Long> shape = new ArrayList<>(spec.shape());
      shape.set(0, spec.shape().getFirst() / experts);
      shape.addFirst(experts);
      return new TensorSpec(spec.suffix(), shape, spec.parts());
    }
  }
}
