package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import java.util.Collections;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A kind of model whose language model is of one of the {@link Families}, beside encoders of images
 * or sounds. Its config has that of the language model as {@code text_config}. The engine runs and
 * prunes the language model on text; all other tensors stay as they are.
 */
public final class Multimodal {
  /** The key of the language model's config. */
  static final String TEXT = "text_config";

  static final String LAYERS = "num_hidden_layers";
  private static final String TIED = "tie_word_embeddings";
  private static final String THETA = "rope_theta";

  /** The key of the number of experts that is read where a config has none of the others. */
  private static final String EXPERTS = "num_local_experts";

  // Their sizes are those that a text_config leaves out: transformers 4 writes of a config inside
  // another one only what differs from the defaults of its class.
  private static final Text LLAMA =
      new Text("llama", Llama.FAMILY, sizes(4096, 11008, 32, 32, 32, 32000));
  private static final Text MISTRAL =
      new Text(
          "mistral",
          Mistral.FAMILY,
          sizes(4096, 14336, 32, 32, 8, 32000).put("sliding_window", 4096));
  private static final Text MINISTRAL =
      new Text("ministral3", Ministral3.FAMILY, sizes(4096, 14336, 34, 32, 8, 131072));
  private static final Text QWEN2 =
      new Text("qwen2", Qwen2.FAMILY, sizes(4096, 22016, 32, 32, 32, 151936));
  private static final Text QWEN3 =
      new Text("qwen3", Qwen3.FAMILY, sizes(4096, 22016, 32, 32, 32, 151936));
  private static final Text GEMMA3 =
      new Text("gemma3_text", Gemma3.FAMILY, sizes(2304, 9216, 26, 8, 4, 262208));

  private static final Text QWEN3_VL =
      new Text("qwen3_vl_text", Qwen3.BESIDE_IMAGES, QWEN3.defaults);
  private static final Text QWEN3_VL_MOE =
      new Text(
          "qwen3_vl_moe_text",
          Qwen3VlMoe.FAMILY,
          sizes(2048, 5632, 24, 16, 16, 151936)
              .put("moe_intermediate_size", 1408)
              .put(EXPERTS, 60)
              .put("num_experts_per_tok", 4));

  private static final Text QWEN35 =
      new Text("qwen3_5_text", Qwen35.FAMILY, sizes(4096, 12288, 32, 16, 4, 248320));
  private static final Text QWEN35_MOE =
      new Text(
          "qwen3_5_moe_text",
          Qwen35Moe.FAMILY,
          sizes(2048, 512, 40, 16, 2, 248320)
              .put("moe_intermediate_size", 512)
              .put(EXPERTS, 256)
              .put("num_experts_per_tok", 8));

  private static final Text LFM2 =
      new Text("lfm2", Lfm2.FAMILY, sizes(2560, 12288, 32, 32, 8, 65536));

  private static final Place WRAPPED =
      new Place("language_model.", name -> "language_model." + name);
  private static final Place OUTSIDE = new Place("model.", name -> name);
  private static final Place TEXT_MODEL = inModel("model.text_model.");

  /** As transformers has the modules in memory, and wrote them in some releases. */
  private static final Place AS_IN_MEMORY = inModel("model.language_model.");

  /** All kinds, in the order in which lists name them. */
  private static final List<Multimodal> ALL =
      List.of(
          new Multimodal("Gemma3ForConditionalGeneration", "gemma3", WRAPPED, GEMMA3),
          new Multimodal(
              "Mistral3ForConditionalGeneration", "mistral3", WRAPPED, MISTRAL, MINISTRAL),
          new Multimodal(
              "LlavaForConditionalGeneration", "llava", WRAPPED, LLAMA, MISTRAL, QWEN2, QWEN3),
          new Multimodal(
              "LlavaNextForConditionalGeneration", "llava_next", WRAPPED, LLAMA, MISTRAL, QWEN2),
          new Multimodal(
              "LlavaOnevisionForConditionalGeneration", "llava_onevision", WRAPPED, QWEN2),
          new Multimodal(
              "InternVLForConditionalGeneration", "internvl", WRAPPED, QWEN2, QWEN3, LLAMA),
          new Multimodal("VoxtralForConditionalGeneration", "voxtral", WRAPPED, LLAMA)
              .without(Loader.VLLM),
          new Multimodal("Idefics3ForConditionalGeneration", "idefics3", TEXT_MODEL, LLAMA),
          new Multimodal("SmolVLMForConditionalGeneration", "smolvlm", TEXT_MODEL, LLAMA),
          new Multimodal(
              "Qwen2VLForConditionalGeneration",
              "qwen2_vl",
              OUTSIDE,
              ofQwen("qwen2_vl_text"),
              ofQwen("qwen2_vl")),
          new Multimodal(
              "Qwen2_5_VLForConditionalGeneration",
              "qwen2_5_vl",
              OUTSIDE,
              ofQwen("qwen2_5_vl_text"),
              ofQwen("qwen2_5_vl")),
          new Multimodal("Qwen3VLForConditionalGeneration", "qwen3_vl", AS_IN_MEMORY, QWEN3_VL)
              .saysTheta()
              .addingImages("deepstack_visual_indexes", 3),
          new Multimodal(
                  "Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe", AS_IN_MEMORY, QWEN3_VL_MOE)
              .saysTheta()
              .addingImages("deepstack_visual_indexes", 3),
          new Multimodal("Qwen3_5ForConditionalGeneration", "qwen3_5", AS_IN_MEMORY, QWEN35),
          new Multimodal(
              "Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", AS_IN_MEMORY, QWEN35_MOE),
          new Multimodal("Lfm2VlForConditionalGeneration", "lfm2_vl", AS_IN_MEMORY, LFM2));

  private final String className;
  private final String modelType;

  /** Programs that open them; llama.cpp opens a GGUF file of the language model. */
  private final Set<Loader> loaders =
      EnumSet.of(Loader.TRANSFORMERS, Loader.VLLM, Loader.LLAMA_CPP);

  /** The key of layers of the encoder whose features the first layers get; null for none. */
  private @Nullable String imagesKey;

  private int usualImages;
  private boolean saysTheta;

  private final SequencedMap<String, Text> texts = new LinkedHashMap<>();
  private final SequencedMap<String, Architecture> families = new LinkedHashMap<>();
  private final SequencedMap<String, Architecture> asInMemory = new LinkedHashMap<>();

  private Multimodal(String className, String modelType, Place place, Text... texts) {
    this.className = className;
    this.modelType = modelType;
    for (Text text : texts) {
      this.texts.put(text.modelType, text);
      this.families.put(text.modelType, text.family.inside(this, place));
      this.asInMemory.put(text.modelType, text.family.inside(this, AS_IN_MEMORY));
    }
  }

  /**
   * A language model.
   *
   * @param modelType in {@code text_config}
   * @param defaults the values of keys that a {@code text_config} leaves out
   */
  private record Text(String modelType, Architecture family, ObjectNode defaults) {}

  /**
   * Where the tensors of the language model are.
   *
   * @param begin of the names of its tensors, but for the head's
   * @param name of a tensor, by its name in a checkpoint of the language model alone
   */
  record Place(String begin, UnaryOperator<String> name) {
    /** The names of the language model's tensors, by those in a checkpoint of it alone. */
    TensorNames of(TensorNames alone) {
      return alone.renamed(name);
    }
  }

  private static Place inModel(String begin) {
    return new Place(begin, name -> name.replaceFirst("^model\\.", begin));
  }

  /**
   * The language models of Qwen2-VL and Qwen2.5-VL. Their rotary embeddings have three positions a
   * token (Wang et al. 2024, arXiv 2409.12191), which are equal for tokens of a text.
   */
  private static Text ofQwen(String modelType) {
    return new Text(
        modelType,
        Qwen2.BESIDE_IMAGES,
        sizes(8192, 29568, 80, 64, 8, 152064)
            .put("rms_norm_eps", 1e-5)
            .put("max_window_layers", 80));
  }

  private static ObjectNode sizes(
      int hidden, int channels, int layers, int heads, int keyValueHeads, int vocabulary) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("hidden_size", hidden)
        .put("intermediate_size", channels)
        .put(LAYERS, layers)
        .put("num_attention_heads", heads)
        .put("num_key_value_heads", keyValueHeads)
        .put("vocab_size", vocabulary);
  }

  /** All kinds, in the order in which lists name them. */
  public static List<Multimodal> all() {
    return ALL;
  }

  /** The kind for an entry of {@code architectures} in {@code config.json}. */
  static Optional<Multimodal> forClassName(String className) {
    return ALL.stream().filter(kind -> kind.className.equals(className)).findFirst();
  }

  /** The class name in {@code config.json}. */
  public String className() {
    return className;
  }

  /** {@code model_type} in {@code config.json}. */
  public String modelType() {
    return modelType;
  }

  /** The families of the language model by the {@code model_type} of its config. */
  public SequencedMap<String, Architecture> families() {
    return families;
  }

  /** The kind of model that a config describes. */
  private static Optional<Multimodal> of(JsonNode config) {
    return forClassName(config.path("architectures").path(0).asText());
  }

  /**
   * The object of a config that describes the language model: {@code text_config} of a multimodal
   * model, where it has one, else the config itself.
   */
  public static ObjectNode textOf(ObjectNode config) {
    return of(config).isPresent() && config.get(TEXT) instanceof ObjectNode text ? text : config;
  }

  /**
   * A value of a config: at its root, or where that has none and the model is multimodal, of its
   * language model's. A missing node where it is nowhere, or {@code null}.
   */
  public static JsonNode value(ObjectNode config, String key) {
    return Stream.of(config, textOf(config))
        .filter(object -> object.hasNonNull(key))
        .map(object -> object.get(key))
        .findFirst()
        .orElse(MissingNode.getInstance());
  }

  /** The programs of other people that open what is made of models of this kind. */
  Set<Loader> loaders() {
    return Collections.unmodifiableSet(loaders);
  }

  /**
   * Behind the first layers of the language model features of images are added.
   *
   * @param key of {@code vision_config}: a list with an entry for each of these layers
   * @param usual how many they are where the config has no such key
   */
  private Multimodal addingImages(String key, int usual) {
    imagesKey = key;
    usualImages = usual;
    return this;
  }

  /** Behind how many of the first layers features of images are added. */
  int visualLayers(JsonFields root) {
    JsonNode list =
        root.node().path("vision_config").path(Objects.requireNonNullElse(imagesKey, ""));
    return list.isArray() ? list.size() : usualImages;
  }

  /** This program does not open what is made of models of this kind. */
  private Multimodal without(Loader loader) {
    loaders.remove(loader);
    return this;
  }

  /**
   * Configs must have {@code rope_theta}: where it is missing, releases of transformers take
   * different ones, 5,000,000 before 5 and 500,000 since.
   */
  private Multimodal saysTheta() {
    saysTheta = true;
    return this;
  }

  /**
   * The config of the language model in that of a model, with the defaults of what it leaves out.
   *
   * @param root the config of the model: that of its language model, too, where it has no {@code
   *     text_config}
   * @throws BadInputException if the language model is none that the engine knows of this kind
   */
  JsonFields text(JsonFields root) {
    boolean nested = root.has(TEXT);
    JsonFields given =
        nested ? new JsonFields(root.file() + ": " + TEXT, root.node().get(TEXT)) : root;
    Text text = texts.get(textType(given));
    if (text == null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: model_type: a %s with a language model of type %s is not supported; these are: %s",
              given.file(),
              className,
              Legible.excerpt(textType(given)),
              String.join(", ", texts.keySet())));
    }
    if (saysTheta && !given.has(THETA) && !given.node().path("rope_parameters").has(THETA)) {
      throw given.error(
          THETA,
          "the base that the model was trained with; without it, transformers 4 and 5 differ");
    }
    ObjectNode filled = text.defaults.deepCopy();
    given.node().properties().forEach(entry -> filled.set(entry.getKey(), entry.getValue()));
    if (root.has(TIED)) {
      filled.set(TIED, root.node().get(TIED));
    }
    return new JsonFields(given.file(), filled);
  }

  /**
   * The family of the language model.
   *
   * @param root the config of the model
   * @param text of its language model
   * @param stored the tensors of the checkpoint; null where they are not known
   */
  Architecture family(JsonFields root, JsonFields text, @Nullable StoredShapes stored) {
    String type = textType(text);
    Architecture inMemory = Objects.requireNonNull(asInMemory.get(type));
    Architecture family =
        stored != null && stored.have(inMemory.embedding())
            ? inMemory
            : Objects.requireNonNull(families.get(type));
    ModelConfig.requireModelType(root, family);
    return family;
  }

  private String textType(JsonFields text) {
    return text.stringOr("model_type", texts.firstEntry().getKey());
  }
}
