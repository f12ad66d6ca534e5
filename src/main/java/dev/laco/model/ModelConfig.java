package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The values of a Hugging Face {@code config.json} that the engine needs, under their names there.
 * Absent keys have the defaults of the library transformers.
 *
 * @param queryKeyValueBias whether q, k and v projections have biases
 * @param outputBias whether the output projection of attention has a bias
 * @param mlpBias whether the gate, up and down projections have biases
 * @param queryKeyNorm whether queries and keys have norms
 * @param parallel whether attention and feed-forward network both read the input of the layer, so
 *     that the residual stream has one sum for both; else the feed-forward network reads the stream
 *     behind attention
 * @param embeddingScale factor on token embeddings
 * @param residualScale factor on what attention and feed-forward network add to the residual stream
 * @param attentionScores what becomes of the products of queries and keys
 * @param alibi whether attention scores fall with distance (ALiBi, Press et al. 2022)
 * @param unitHead whether each row of the output projection is divided by its length
 * @param logits what becomes of the products of last hidden states and output projection
 * @param latentAttention the sizes of attention with latent vectors; null where it has none
 * @param gatedHeads whether outputs of heads are multiplied by the sigmoid of gates, whose rows in
 *     the projection of queries follow those of each head's query
 * @param linearAttention the sizes of linear attention, which some layers have; null where none has
 * @param convolution the sizes of convolutions, which some layers have in the place of attention;
 *     null where none has
 * @param mixture the mixtures of experts; null where no layer has one
 * @param attention what the attention of each layer has
 * @param visualLayers behind how many of the first layers features of images are added (DeepStack,
 *     Meng et al. 2024, arXiv 2406.04334), so that these layers keep their places
 */
public record ModelConfig(
    Architecture architecture,
    int numHiddenLayers,
    int hiddenSize,
    int intermediateSize,
    int numAttentionHeads,
    int numKeyValueHeads,
    int headDim,
    int vocabSize,
    int maxPositionEmbeddings,
    double rmsNormEps,
    Activation hiddenAct,
    boolean queryKeyValueBias,
    boolean outputBias,
    boolean mlpBias,
    boolean queryKeyNorm,
    boolean parallel,
    boolean tieWordEmbeddings,
    double embeddingScale,
    double residualScale,
    LogitSpec attentionScores,
    boolean alibi,
    boolean unitHead,
    LogitSpec logits,
    @Nullable LatentAttention latentAttention,
    boolean gatedHeads,
    @Nullable LinearAttention linearAttention,
    @Nullable ShortConvolution convolution,
    @Nullable Mixture mixture,
    List<LayerAttention> attention,
    int visualLayers,
    int predictionLayers) {

  /**
   * Most layers of a config, far more than any model has, so that a wrong number does not fill the
   * memory.
   */
  public static final int MAX_LAYERS = 10_000;

  /** What the class names of language models end with. */
  private static final String LANGUAGE_MODEL = "ForCausalLM";

  public ModelConfig {
    attention = List.copyOf(attention);
  }

  /**
   * Reads a config.
   *
   * @param file the name of the config, for messages
   * @throws BadInputException if a field is missing or wrong, or the model is one that we do not
   *     support
   */
  public static ModelConfig parse(String file, JsonNode json) {
    return parse(file, json, null);
  }

  /**
   * Reads the config of a checkpoint. Of a multimodal one its tensors say where the language model
   * is, and whether the output projection is the embedding: so does transformers, whatever {@code
   * tie_word_embeddings} is there, which configs that it writes may have wrong. Tensors also say
   * how the matrices of experts are stored.
   *
   * @param file the name of the config, for messages
   * @param stored the tensors of the checkpoint; null where they are not known
   * @throws BadInputException if a field is missing or wrong, or the model is one that we do not
   *     support
   */
  public static ModelConfig parse(String file, JsonNode json, @Nullable StoredShapes stored) {
    JsonFields root = new JsonFields(file, json);
    Optional<Multimodal> around = Multimodal.forClassName(className(root));
    JsonFields config = around.map(kind -> kind.text(root)).orElse(root);
    Architecture architecture =
        around.map(kind -> kind.family(root, config, stored)).orElseGet(() -> architecture(root));
    if (root.has("quantization_config")) {
      JsonNode quantisation = json.get("quantization_config");
      String method = quantisation.path("quant_method").asText("of no name");
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: quantization_config: quantised by %s, which is not read; prune the f32, f16 or bf16 checkpoint that"
                  + " this one was made from, and quantise the result (read are fp8, mxfp4, and compressed-tensors with a byte a weight)",
              file,
              Legible.excerpt(
                  method + quantisation.path("format").asText("").replaceFirst("^(?=.)", " "))));
    }
    architecture.check(config);
    int layers = config.requiredPositive("num_hidden_layers");
    if (layers > MAX_LAYERS) {
      throw config.error("num_hidden_layers", "at most " + MAX_LAYERS);
    }
    int hidden = config.requiredPositive("hidden_size");
    int heads = config.requiredPositive("num_attention_heads");
    int kvHeads = architecture.keyValueHeads(config);
    if (heads % kvHeads != 0) {
      throw config.error("num_key_value_heads", "a divisor of num_attention_heads, " + heads);
    }
    LatentAttention latent = architecture.latentAttention(config);
    int headDim = latent == null ? headDim(config, architecture, hidden, heads) : latent.query();
    int positions =
        config.positiveOr("max_position_embeddings", architecture.defaultPositions(config));
    double eps = config.numberOr(architecture.epsKey(), architecture.defaultEps());
    if (eps < 0) {
      throw config.error(architecture.epsKey(), "a number of at least 0");
    }
    boolean attentionBias = architecture.attentionBias(config);
    Mixture mixture =
        architecture.mixture().map(keys -> Mixture.parse(config, keys, layers)).orElse(null);
    return new ModelConfig(
        stored == null || mixture == null
            ? architecture
            : architecture.storedAs(stored, mixture, hidden),
        layers,
        hidden,
        architecture.channels(config),
        heads,
        kvHeads,
        headDim,
        config.requiredPositive("vocab_size"),
        positions,
        eps,
        architecture.activation(config),
        architecture.queryKeyValueBias().present(attentionBias),
        architecture.outputBias().present(attentionBias),
        architecture.feedForwardBias(config),
        architecture.queryKeyNorm(config),
        architecture.parallel(config),
        tied(config, architecture, stored),
        architecture.embeddingScale(config),
        architecture.residualScale(config),
        latent == null ? architecture.attentionScores(config, headDim) : latent.scores(config),
        architecture.hasAlibi(config),
        architecture.hasUnitHead(config),
        architecture.logits(config),
        latent,
        architecture.hasGatedHeads(),
        architecture.linearAttention(config),
        architecture.convolution(config),
        mixture,
        LayerAttentions.read(
            config,
            architecture,
            layers,
            new RopeParameters.Reader(
                config,
                positions,
                latent == null ? headDim : latent.rotated(),
                architecture.rotates())),
        around.map(kind -> kind.visualLayers(root)).orElse(0),
        architecture.predictionLayers(config));
  }

  private static boolean tied(
      JsonFields config, Architecture architecture, @Nullable StoredShapes stored) {
    if (architecture.isMultimodal() && stored != null) {
      return !stored.have(architecture.head());
    }
    return config.booleanOr("tie_word_embeddings", architecture.tiedByDefault());
  }

  private static String className(JsonFields config) {
    JsonNode names = config.node().path("architectures");
    if (!names.isArray() || names.size() != 1 || !names.get(0).isTextual()) {
      throw config.error("architectures", "a list of one class name");
    }
    return names.get(0).textValue();
  }

  private static Architecture architecture(JsonFields config) {
    String name = className(config);
    Architecture architecture =
        Architecture.forClassName(name)
            .orElseThrow(
                () ->
                    new BadInputException(
                        config.file()
                            + ": architectures: "
                            + Legible.excerpt(name)
                            + " is not supported"
                            + whyNot(name)));
    requireModelType(config, architecture);
    return architecture.form(config);
  }

  /** Checks that the {@code model_type} of a config is that of its class. */
  static void requireModelType(JsonFields config, Architecture architecture) {
    String modelType = config.stringOr("model_type", architecture.modelType());
    if (!modelType.equals(architecture.modelType())) {
      throw config.error(
          "model_type",
          "\"" + architecture.modelType() + "\", which goes with " + architecture.className());
    }
  }

  private static String whyNot(String name) {
    String reason = Families.NOT_COMPUTED.get(name);
    if (reason != null) {
      return ": " + reason;
    }
    if (name.endsWith("ForConditionalGeneration")) {
      return Multimodal.all().stream()
          .map(Multimodal::className)
          .collect(Collectors.joining(", ", "; these are: ", ""));
    }
    return Architecture.all().stream()
        .map(family -> family.className().replace(LANGUAGE_MODEL, ""))
        .collect(Collectors.joining(", ", "; these are, each with " + LANGUAGE_MODEL + ": ", ""));
  }

  private static int headDim(JsonFields config, Architecture architecture, int hidden, int heads) {
    OptionalInt given = config.positive("head_dim");
    if (given.isEmpty() && !config.node().has("head_dim")) {
      given = architecture.defaultHeadDim();
    }
    if (given.isEmpty() && hidden % heads != 0) {
      throw config.error(
          "hidden_size",
          "a multiple of num_attention_heads, " + heads + ", where head_dim is not given");
    }
    int headDim = given.orElse(hidden / heads);
    if (headDim % 2 != 0) {
      throw config.error("head_dim", "an even number, for rotary embedding; it is " + headDim);
    }
    return headDim;
  }

  /**
   * The factor on token embeddings in the residual stream that the engine computes. That stream is
   * the model's, divided by {@link #residualScale}, so that what layers add to it needs no factor.
   */
  public double streamScale() {
    return embeddingScale / residualScale;
  }

  /** The norms of the residual stream, which {@link #streamScale} divides. */
  public NormSpec norm() {
    return new NormSpec(rmsNormEps / (residualScale * residualScale), architecture.normOffset());
  }

  /** Whether norms are layer norms; else they are RMS norms. */
  public boolean hasLayerNorms() {
    return architecture.hasLayerNorms();
  }

  /**
   * Whether one matrix projects to queries, keys and values, with the rows of each key/value head
   * together: those of its query heads, then those of its key, then those of its value.
   */
  public boolean headsInterleaved() {
    return architecture.headsInterleaved();
  }

  /**
   * Whether two matrices project the input of {@link LinearAttention}, with the rows of each key
   * head together: those of its query, its key, its values and their gates in one matrix, those of
   * the rates and the decays of its values in the other.
   */
  public boolean linearHeadsByKey() {
    return architecture.linearHeadsByKey();
  }

  /**
   * Whether matrices of experts have a row for each input, and gate and up projection are {@link
   * LayerRole#GATE_UP_TRANSPOSED one matrix}.
   */
  public boolean expertsTransposed() {
    return architecture.expertsTransposed();
  }

  /**
   * Whether feed-forward networks are gated: {@code activation(gate) * up}, not {@code
   * activation(up)}.
   */
  public boolean isGated() {
    return architecture.isGated();
  }

  /** Whether norms of queries and keys take them behind their rotation; else they do before it. */
  public boolean normsRotatedHeads() {
    return architecture.normsRotatedHeads();
  }

  /** Whether a norm follows the output projections of attention and feed-forward network. */
  public boolean normsOutputs() {
    return architecture.normsOutputs();
  }

  /** Name of the weight of the output projection: the embedding if the config ties the two. */
  public String head() {
    return tieWordEmbeddings ? architecture.embedding() : architecture.head();
  }

  /** Which elements of a head are rotated together. */
  public RotaryPairs rotaryPairs() {
    return architecture.rotaryPairs();
  }

  /** Elements of a head that a rotary embedding is told of: it rotates them, or the first ones. */
  public int rotaryDim() {
    return latentAttention == null ? headDim : latentAttention.rotated();
  }

  /**
   * The roles of the matrices that project the input of attention.
   *
   * @param mixer what the layer has in the place of attention
   */
  public List<LayerRole> attentionInputRoles(TokenMixer mixer) {
    return switch (mixer) {
      case SOFTMAX -> attentionInputRoles();
      case LINEAR_ATTENTION ->
          linearHeadsByKey()
              ? List.of(LayerRole.LINEAR_HEADS_GATE, LayerRole.LINEAR_RATE_DECAY)
              : List.of(
                  LayerRole.LINEAR_HEADS,
                  LayerRole.LINEAR_GATE,
                  LayerRole.LINEAR_RATE,
                  LayerRole.LINEAR_DECAY);
      case CONVOLUTION ->
          List.of(
              LayerRole.CONVOLUTION_GATE,
              LayerRole.CONVOLUTION_OUTPUT_GATE,
              LayerRole.CONVOLUTION_INPUT);
    };
  }

  private List<LayerRole> attentionInputRoles() {
    if (latentAttention != null) {
      LayerRole query =
          latentAttention.queryRank() == 0 ? LayerRole.QUERY : LayerRole.QUERY_COMPRESSION;
      return List.of(query, LayerRole.KEY_VALUE_COMPRESSION, LayerRole.ROTATED_KEY);
    }
    return headsInterleaved()
        ? List.of(LayerRole.QUERY_KEY_VALUE)
        : List.of(LayerRole.QUERY, LayerRole.KEY, LayerRole.VALUE);
  }

  /**
   * Width of what the output projection of attention takes: of the outputs of all heads, side by
   * side.
   *
   * @param mixer what the layer has in the place of attention
   */
  public long attendedWidth(TokenMixer mixer) {
    return switch (mixer) {
      case SOFTMAX ->
          (long) numAttentionHeads * (latentAttention == null ? headDim : latentAttention.value());
      case LINEAR_ATTENTION -> Objects.requireNonNull(linearAttention).values();
      case CONVOLUTION -> Objects.requireNonNull(convolution).width();
    };
  }

  /**
   * Multiplications and additions of a token and a key that it attends to, of all heads of a layer
   * with a softmax: those of scores, and of values that are added up.
   */
  public long attendedOperations() {
    return 2 * ((long) numAttentionHeads * headDim + attendedWidth(TokenMixer.SOFTMAX));
  }

  /**
   * Multiplications and additions of a token in what stands in the place of attention by a softmax,
   * beside those of products with matrices; 0 for a softmax, which {@link #attendedOperations}
   * counts.
   */
  public long mixerOperations(TokenMixer mixer) {
    return switch (mixer) {
      case SOFTMAX -> 0;
      case LINEAR_ATTENTION -> Objects.requireNonNull(linearAttention).operations();
      case CONVOLUTION -> Objects.requireNonNull(convolution).operations();
    };
  }

  /** The largest {@link #attendedWidth} of all layers. */
  public long widestAttended() {
    return attention.stream().mapToLong(layer -> attendedWidth(layer.mixer())).max().orElseThrow();
  }

  /**
   * The layers of the kind that the first layer is not of, in a family that has layers of two
   * kinds: programs need a layer of each. None where all layers are of one kind.
   */
  public Set<Integer> otherThanFirst() {
    return IntStream.range(1, numHiddenLayers)
        .filter(layer -> attention.get(layer).mixer() != attention.getFirst().mixer())
        .boxed()
        .collect(Collectors.toUnmodifiableSet());
  }

  /** Whether all layers are of one kind, in a family that has layers of two. */
  public boolean mixesTokensAlike() {
    return architecture.mixesTokensUnlike()
        && attention.stream().map(LayerAttention::mixer).distinct().count() == 1;
  }

  /** The norms of outputs of heads of linear attention. */
  public NormSpec linearNorm() {
    return new NormSpec(rmsNormEps, normOffset(LayerRole.LINEAR_NORM));
  }

  /** What the norm of a role adds to its weights; 0 for other roles. */
  public double normOffset(LayerRole role) {
    return role.isNorm() && role != LayerRole.LINEAR_NORM ? architecture.normOffset() : 0;
  }

  /** The norms of latent vectors. */
  public NormSpec latentNorm() {
    return new NormSpec(LatentAttention.EPS, architecture.normOffset());
  }

  /** The different rotary embeddings of the layers, those of queries and those of keys. */
  public List<RopeParameters> rotations() {
    return attention.stream()
        .map(LayerAttention::rotation)
        .filter(Objects::nonNull)
        .flatMap(rotation -> Stream.of(rotation, rotation.ofKeys()))
        .distinct()
        .toList();
  }

  /**
   * Lengths of a text at which keys of its first tokens are other ones than in a shorter text, so
   * that a model which has written so far reads it anew: where LongRoPE has its second factors. The
   * frequencies of dynamic NTK change with every token; transformers keeps those keys as they are.
   */
  public Set<Integer> rotatedAnew() {
    return rotations().stream()
        .map(RopeParameters::scaling)
        .filter(RopeParameters.LongRope.class::isInstance)
        .map(scaling -> ((RopeParameters.LongRope) scaling).originalPositions() + 1)
        .collect(Collectors.toUnmodifiableSet());
  }

  /**
   * The norms of queries and keys, and those behind attention and feed-forward network, whose input
   * no scale divides.
   */
  public NormSpec innerNorm() {
    return new NormSpec(rmsNormEps, architecture.normOffset());
  }

  /** The mixture of experts of a layer; null where the layer has one feed-forward network. */
  public @Nullable Mixture mixture(int layer) {
    return mixture != null && mixture.layers().get(layer) ? mixture : null;
  }

  /** Why rules that solve for weights do not hold for this model; null where they hold. */
  public @Nullable String whyNoFit() {
    return architecture.whyNoFit();
  }

  /**
   * Why of the rules that fit weights only those hold that change down projections alone; null
   * where all hold, or none.
   */
  public @Nullable String whyOnlyDown() {
    return architecture.whyOnlyDown();
  }

  /**
   * Why rules that give a layer tensors of others do not hold for this model, so that layers can
   * only be removed; null where they hold.
   */
  public @Nullable String whyNoMerge() {
    if (attention.stream().map(LayerAttention::mixer).distinct().count() > 1) {
      return convolution == null
          ? "some of its layers have linear attention and others a softmax, which cannot be merged"
          : "some of its layers have a convolution and others attention, which cannot be merged";
    }
    return mixture == null || Set.copyOf(mixture.layers()).size() == 1
        ? null
        : "some of its layers have mixtures of experts and others one feed-forward network, which"
            + " cannot be merged";
  }

  /** Inner width of the widest feed-forward network or expert of all layers. */
  public int widestChannels() {
    if (mixture == null) {
      return intermediateSize;
    }
    int experts = Math.max(mixture.width(), mixture.sharedWidth());
    return mixture.layers().contains(false) ? Math.max(intermediateSize, experts) : experts;
  }

  /** Number of parameters of a layer. */
  public long layerParameters(int layer) {
    return architecture.layerTensors(this, layer).stream().mapToLong(TensorSpec::elements).sum();
  }

  /**
   * Number of parameters of a layer's matrices that a token is multiplied by: of a mixture those of
   * as many experts as a token is given to.
   */
  public long activeParameters(int layer) {
    long all =
        architecture.layerTensors(this, layer).stream()
            .filter(spec -> spec.group() != TensorGroup.NORMS)
            .mapToLong(TensorSpec::elements)
            .sum();
    Mixture experts = mixture(layer);
    return experts == null
        ? all
        : all - 3L * (experts.experts() - experts.chosen()) * experts.width() * hiddenSize;
  }

  /** Feed-forward channels that a layer computes for a token. */
  public long activeChannels(int layer) {
    Mixture experts = mixture(layer);
    return experts == null
        ? intermediateSize
        : (long) experts.chosen() * experts.width() + experts.sharedWidth();
  }

  /** Number of parameters of the largest layer. */
  public long layerParameters() {
    return IntStream.range(0, numHiddenLayers).mapToLong(this::layerParameters).max().orElseThrow();
  }
}
