package dev.laco.collapse;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.model.JsonFields;
import dev.laco.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A plan of a pruned model: its layers, each a linear combination of original layers. A plan holds
 * no weights; report and plan file contain it as the same JSON.
 *
 * @param source the model that the plan is for
 * @param layers the layers of the pruned model, by ascending base
 * @param tensors names of the fitted tensors, which take the place of those that the mixes give;
 *     null if there are none
 * @param products type of the matrix products that the plan was chosen and fitted by, {@code f32},
 *     {@code bf16} or {@code f16}; null where the plan does not tell
 * @param results what was measured of the pruned model; null where nothing was
 */
public record CollapsePlan(
    Source source,
    List<LayerMix> layers,
    @Nullable NewTensors tensors,
    @Nullable String products,
    @Nullable Results results) {
  private static final Set<String> PRODUCTS = Set.of("f32", "bf16", "f16");

  private static final int VERSION = 1;

  /**
   * The model that a plan is for.
   *
   * @param architecture class name in its config
   * @param layers the number of its layers
   * @param digest {@code sha256:…} of config and tensor table
   * @param weights {@code sha256:…} of a sample of the weights, null in plans that older versions
   *     wrote
   */
  public record Source(String architecture, int layers, String digest, @Nullable String weights) {
    /** A model without a digest of weights. */
    public Source(String architecture, int layers, String digest) {
      this(architecture, layers, digest, null);
    }
  }

  /**
   * What was measured of a pruned model, for its model card. Numbers are finite, and have four
   * digits behind the point.
   *
   * @param text names the text for people
   * @param dense perplexity of the original on it
   * @param perplexity of the pruned model
   * @param similarity cosine of the last hidden states of both models
   * @param divergence of the pruned model's predictions from the original's, nats
   * @param training how the pruned model was trained; null where it was not
   */
  public record Results(
      String text,
      double dense,
      double perplexity,
      double similarity,
      double divergence,
      @Nullable Training training) {
    public Results {
      dense = rounded(dense);
      perplexity = rounded(perplexity);
      similarity = rounded(similarity);
      divergence = rounded(divergence);
    }
  }

  /**
   * A training of a pruned model.
   *
   * @param tokens on which it was trained
   * @param before perplexity of the pruned model before; null where it was not measured
   */
  public record Training(long tokens, @Nullable Double before) {
    public Training {
      before = before == null ? null : rounded(before);
    }
  }

  /** The value with four digits behind the point; the others differ between machines. */
  private static double rounded(double value) {
    if (!Double.isFinite(value)) {
      throw new IllegalArgumentException("a result is " + value);
    }
    return Math.rint(value * 1e4) / 1e4;
  }

  /**
   * The names of fitted tensors, each of which takes the place of the tensor that the mix would
   * give.
   *
   * @param file name of the safetensors file beside the plan that holds them, or of the index of
   *     such files; it may hold others, too
   * @param sha256 hash of a safetensors file of these tensors alone, 64 hexadecimal digits
   * @param names the names of the tensors in the pruned model, ascending
   */
  public record NewTensors(String file, String sha256, List<String> names) {
    private static final Pattern FILE =
        Pattern.compile("[^/\\\\\\p{Cntrl}]+\\.safetensors(\\.index\\.json)?");
    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");

    /** Most characters of a tensor's name, as of one in a checkpoint. */
    private static final int MAX_NAME = 128;

    private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_]+(\\.[A-Za-z0-9_]+)*");

    /**
     * The names of tensors and of their file.
     *
     * @throws IllegalArgumentException if a name, the file's name or the hash does not have the
     *     form of one
     */
    public NewTensors {
      require(FILE.matcher(file), "file", "the name of a .safetensors file beside the plan", file);
      require(SHA256.matcher(sha256), "sha256", "64 hexadecimal digits", sha256);
      for (String name : names) {
        if (name.length() > MAX_NAME) {
          throw new IllegalArgumentException(
              String.format(
                  Locale.ROOT,
                  "names: expected at most %d characters, found \"%s\" of %d",
                  MAX_NAME,
                  Legible.excerpt(name),
                  name.length()));
        }
        require(NAME.matcher(name), "names", "names of tensors", name);
      }
      SortedSet<String> sorted = new TreeSet<>(names);
      if (names.isEmpty() || sorted.size() < names.size()) {
        throw new IllegalArgumentException(
            "names: expected at least one tensor, each once, found " + names.size());
      }
      names = List.copyOf(sorted);
    }

    private static void require(Matcher matcher, String field, String expected, String found) {
      if (!matcher.matches()) {
        throw new IllegalArgumentException(
            field + ": expected " + expected + ", found \"" + Legible.excerpt(found) + "\"");
      }
    }
  }

  /** A plan without new tensors and without the type of its products. */
  public CollapsePlan(Source source, List<LayerMix> layers) {
    this(source, layers, null, null);
  }

  /** A plan of a model of which nothing was measured. */
  public CollapsePlan(
      Source source,
      List<LayerMix> layers,
      @Nullable NewTensors tensors,
      @Nullable String products) {
    this(source, layers, tensors, products, null);
  }

  /**
   * A plan of all values.
   *
   * @throws IllegalArgumentException if there are no layers, bases do not ascend, or a mix names a
   *     layer that the source does not have
   */
  public CollapsePlan {
    layers = List.copyOf(layers);
    if (layers.isEmpty()) {
      throw new IllegalArgumentException("a plan needs at least one layer");
    }
    int previous = -1;
    for (LayerMix mix : layers) {
      if (mix.base() <= previous || mix.base() >= source.layers()) {
        throw new IllegalArgumentException("bases must ascend below the source's depth");
      }
      previous = mix.base();
      for (Coefficients c : List.of(mix.attention(), mix.feedForward(), mix.norms())) {
        if (c.terms().lastKey() >= source.layers()) {
          throw new IllegalArgumentException(
              "a mix names layer " + c.terms().lastKey() + " of " + source.layers());
        }
      }
    }
  }

  /** The unchanged model. */
  public static CollapsePlan identity(Source source) {
    return new CollapsePlan(
        source, IntStream.range(0, source.layers()).mapToObj(LayerMix::original).toList());
  }

  /** Number of surviving layers. */
  public int depth() {
    return layers.size();
  }

  /** The same layers with these new tensors, or with none. */
  public CollapsePlan withTensors(@Nullable NewTensors others) {
    return new CollapsePlan(source, layers, others, products, results);
  }

  /** The same plan with the type of the matrix products that it was chosen and fitted by. */
  public CollapsePlan withProducts(String type) {
    return new CollapsePlan(source, layers, tensors, type, results);
  }

  /** The same plan with what was measured of the pruned model. */
  public CollapsePlan withResults(@Nullable Results measured) {
    return new CollapsePlan(source, layers, tensors, products, measured);
  }

  /** True if nothing is changed. */
  public boolean isIdentity() {
    return depth() == source.layers() && sharedPrefix() == depth() && tensors == null;
  }

  /** Index after the last layer of the original that a layer of the plan stands for. */
  public int end(int index) {
    return index + 1 < depth() ? layers.get(index + 1).base() : source.layers();
  }

  /** Whether layers of the original are missing between a layer of the plan and the next one. */
  public boolean hasGapBehind(int index) {
    return end(index) > layers.get(index).base() + 1;
  }

  /** How many leading layers are the original ones, unchanged but for new tensors. */
  public int sharedPrefix() {
    int i = 0;
    while (i < layers.size() && layers.get(i).isOriginal(i)) {
      i++;
    }
    return i;
  }

  /** How many leading layers are the same mixes as those of {@code other}. */
  public int commonPrefix(CollapsePlan other) {
    int most = Math.min(depth(), other.depth());
    int i = 0;
    while (i < most && layers.get(i).equals(other.layers.get(i))) {
      i++;
    }
    return i;
  }

  /**
   * A plan of the same depth without mixes: each layer becomes the one original layer whose
   * coefficient is largest in its feed-forward group.
   */
  public CollapsePlan skeleton() {
    SortedMap<Integer, LayerMix> kept = new TreeMap<>();
    for (LayerMix mix : layers) {
      int heaviest = heaviest(mix);
      // Two survivors may be mostly the same layer.
      int layer = kept.containsKey(heaviest) ? mix.base() : heaviest;
      kept.put(layer, LayerMix.original(layer));
    }
    if (kept.size() < depth()) {
      layers.forEach(mix -> kept.put(mix.base(), LayerMix.original(mix.base())));
    }
    return new CollapsePlan(source, List.copyOf(kept.values()).subList(0, depth()));
  }

  private static int heaviest(LayerMix mix) {
    SortedMap<Integer, Double> terms = mix.feedForward().terms();
    int heaviest = mix.base();
    double most = Math.abs(terms.getOrDefault(heaviest, 0.0));
    for (Map.Entry<Integer, Double> term : terms.entrySet()) {
      if (Math.abs(term.getValue()) > most) {
        heaviest = term.getKey();
        most = Math.abs(term.getValue());
      }
    }
    return heaviest;
  }

  /**
   * Folds consecutive layers into one.
   *
   * @param base index of the base in this plan
   * @param followers number of layers behind the base that are folded into it
   * @param rule gives the coefficient of each layer
   * @param norms whether norms and biases are merged or are the base's
   * @throws IllegalStateException if the plan has new tensors, which cannot be folded
   */
  public CollapsePlan fold(int base, int followers, MergeRule rule, NormsPolicy norms) {
    if (tensors != null) {
      throw new IllegalStateException("a plan with new tensors cannot be folded");
    }
    List<LayerMix> result = new ArrayList<>(layers.subList(0, base));
    result.add(rule.merge(layers.subList(base, base + followers + 1), norms));
    result.addAll(layers.subList(base + followers + 1, layers.size()));
    return new CollapsePlan(source, result);
  }

  /** The plan as JSON: {@code version}, {@code source}, {@code layers}, {@code tensors} if any. */
  public ObjectNode toJson() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("version", VERSION);
    ObjectNode sourceJson =
        json.putObject("source")
            .put("architecture", source.architecture())
            .put("layers", source.layers())
            .put("digest", source.digest());
    if (source.weights() != null) {
      sourceJson.put("weights", source.weights());
    }
    var array = json.putArray("layers");
    for (LayerMix mix : layers) {
      ObjectNode layer = array.addObject().put("base", mix.base());
      if (mix.attention().equals(mix.feedForward()) && mix.attention().equals(mix.norms())) {
        layer.set("mix", toJson(mix.attention()));
      } else {
        ObjectNode groups = layer.putObject("mix");
        groups.set("attention", toJson(mix.attention()));
        groups.set("feedForward", toJson(mix.feedForward()));
        groups.set("norms", toJson(mix.norms()));
      }
    }
    if (tensors != null) {
      ObjectNode added =
          json.putObject("tensors").put("file", tensors.file()).put("sha256", tensors.sha256());
      tensors.names().forEach(added.putArray("names")::add);
    }
    if (products != null) {
      json.put("products", products);
    }
    if (results != null) {
      ObjectNode measured =
          json.putObject("results")
              .put("text", results.text)
              .put("densePerplexity", results.dense)
              .put("perplexity", results.perplexity)
              .put("similarity", results.similarity)
              .put("kl", results.divergence);
      if (results.training != null) {
        measured.put("trainedTokens", results.training.tokens);
        if (results.training.before != null) {
          measured.put("untrainedPerplexity", results.training.before);
        }
      }
    }
    return json;
  }

  /** The bytes of a plan file: the same for the same plan. */
  public String toJsonText() {
    return toJson().toPrettyString() + "\n";
  }

  private static ObjectNode toJson(Coefficients coefficients) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    coefficients.terms().forEach((layer, c) -> json.put(Integer.toString(layer), c));
    return json;
  }

  /**
   * Reads a plan file.
   *
   * @param file its name for messages
   * @throws BadInputException if it is not a plan
   */
  public static CollapsePlan parse(String file, String text) {
    JsonNode node = InputJson.parse(file, text);
    JsonFields json = new JsonFields(file, node);
    if (json.requiredPositive("version") != VERSION) {
      throw json.error("version", Integer.toString(VERSION));
    }
    JsonFields sourceJson = new JsonFields(file + ": source", node.path("source"));
    Source source =
        new Source(
            sourceJson.stringOr("architecture", ""),
            sourceJson.requiredPositive("layers"),
            sourceJson.stringOr("digest", ""),
            sourceJson.has("weights") ? sourceJson.stringOr("weights", "") : null);
    if (source.layers() > ModelConfig.MAX_LAYERS) {
      throw sourceJson.error("layers", "at most " + ModelConfig.MAX_LAYERS);
    }
    if (!node.path("layers").isArray() || node.path("layers").size() > ModelConfig.MAX_LAYERS) {
      throw json.error(
          "layers",
          String.format(Locale.ROOT, "a list of at most %d layer mixes", ModelConfig.MAX_LAYERS));
    }
    String products = json.has("products") ? json.stringOr("products", "") : null;
    if (products != null && !PRODUCTS.contains(products)) {
      throw json.error("products", "f32, bf16 or f16");
    }
    try {
      List<LayerMix> layers = new ArrayList<>();
      for (JsonNode layer : node.path("layers")) {
        layers.add(parseMix(file + ": layers[" + layers.size() + "]", layer));
      }
      return new CollapsePlan(source, layers, parseTensors(json), products, parseResults(json));
    } catch (IllegalArgumentException e) {
      throw new BadInputException(file + ": layers: " + e.getMessage());
    }
  }

  private static @Nullable Results parseResults(JsonFields plan) {
    if (!plan.has("results")) {
      return null;
    }
    JsonFields json = new JsonFields(plan.file() + ": results", plan.node().path("results"));
    return new Results(
        json.stringOr("text", ""),
        number(json, "densePerplexity"),
        number(json, "perplexity"),
        number(json, "similarity"),
        number(json, "kl"),
        json.has("trainedTokens")
            ? new Training(
                (long) number(json, "trainedTokens"),
                json.has("untrainedPerplexity") ? number(json, "untrainedPerplexity") : null)
            : null);
  }

  private static double number(JsonFields json, String key) {
    JsonNode value = json.node().path(key);
    if (!value.isNumber()) {
      throw json.error(key, "a number");
    }
    return value.doubleValue();
  }

  private static @Nullable NewTensors parseTensors(JsonFields plan) {
    if (!plan.has("tensors")) {
      return null;
    }
    String where = plan.file() + ": tensors";
    JsonFields json = new JsonFields(where, plan.node().path("tensors"));
    JsonNode array = json.node().path("names");
    if (!array.isArray() || !array.valueStream().allMatch(JsonNode::isTextual)) {
      throw json.error("names", "a list of tensor names");
    }
    List<String> names = array.valueStream().map(JsonNode::textValue).toList();
    try {
      return new NewTensors(json.stringOr("file", ""), json.stringOr("sha256", ""), names);
    } catch (IllegalArgumentException e) {
      throw new BadInputException(where + "." + e.getMessage());
    }
  }

  private static LayerMix parseMix(String where, JsonNode node) {
    JsonFields layer = new JsonFields(where, node);
    JsonNode base = node.path("base");
    if (!base.isIntegralNumber() || !base.canConvertToInt()) {
      throw layer.error("base", "an original layer index");
    }
    JsonNode mix = node.path("mix");
    if (mix.has("attention") || mix.has("feedForward") || mix.has("norms")) {
      return new LayerMix(
          base.intValue(),
          parseCoefficients(where + ".mix.attention", mix.get("attention")),
          parseCoefficients(where + ".mix.feedForward", mix.get("feedForward")),
          parseCoefficients(where + ".mix.norms", mix.get("norms")));
    }
    Coefficients all = parseCoefficients(where + ".mix", mix);
    return new LayerMix(base.intValue(), all, all, all);
  }

  private static Coefficients parseCoefficients(String where, @Nullable JsonNode node) {
    if (node == null || !node.isObject()) {
      throw new BadInputException(
          where + ": expected an object of original layer index to coefficient");
    }
    SortedMap<Integer, Double> terms = new TreeMap<>();
    for (Map.Entry<String, JsonNode> entry : node.properties()) {
      if (!entry.getKey().matches("[0-9]{1,6}") || !entry.getValue().isNumber()) {
        throw new BadInputException(
            where
                + ": expected original layer index to coefficient, found \""
                + Legible.excerpt(entry.getKey())
                + "\": "
                + Legible.excerpt(entry.getValue()));
      }
      terms.put(Integer.parseInt(entry.getKey()), entry.getValue().doubleValue());
    }
    return new Coefficients(terms);
  }
}
