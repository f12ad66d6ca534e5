package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/**
 * The GGUF files of a family: what llama.cpp's converter writes into them, and what llama.cpp
 * expects there beyond metadata. They have what {@link #named} begins with, unless the family says
 * otherwise.
 */
public final class GgufFamily {
  /** Where llama.cpp looks for the output projection. */
  public enum Head {
    /** In a tensor of its own, or in the embedding where there is none. */
    EITHER,
    OWN,
    TIED
  }

  /** Which biases of projections llama.cpp reads, beside those of queries, keys and values. */
  public enum Biases {
    NONE,
    /** Those that are there. */
    ALL,
    /** All, and those of queries, keys and values, must be there. */
    REQUIRED
  }

  /** The key of the factor on products of queries and keys. */
  static final String SCORE_SCALE = "attention.scale";

  private final String name;
  private boolean rowsInterleaved;
  private boolean latentAttention;
  private boolean linearAttention;
  private boolean valueHeadsTiled;
  private boolean convolutions;
  private String finalNorm = GgufNames.FINAL_NORM;
  private @Nullable Positions positions;
  private List<Integer> usualSections = List.of();
  private boolean withoutEps;
  private final Map<LayerRole, String> names = new EnumMap<>(LayerRole.class);
  private String activationKey = "hidden_act";
  private Activation activation = Activation.SILU;
  private boolean squareOutput;
  private Head head = Head.EITHER;
  private Biases biases = Biases.NONE;
  private int windowPeriod;
  private int defaultWindow;
  private boolean ignoresWindows;
  private WindowKey windowKey = WindowKey.WHERE_THERE;
  private boolean needsWindow;
  private boolean oneRotation;
  private @Nullable String windowThetaKey;
  private LayerRotation layerRotation = turn -> turn.main;
  private boolean longRope;
  private boolean yarnIsRounded;
  private int scoresByHiddenAt;
  private boolean softCaps;
  private boolean sharesOfChosen;
  private boolean routerInMetadata;
  private Map<String, Integer> counts = Map.of();
  private boolean saysParallel;
  private final List<Value> values = new ArrayList<>();
  private BiFunction<ModelConfig, Integer, @Nullable String> refused = (model, window) -> null;
  private BiConsumer<ObjectNode, Set<String>> config = (node, tensors) -> {};

  /** Which pairs of a head's elements each of the three positions of an image's part rotates. */
  public enum Positions {
    /**
     * The first pairs by the first position, the next ones by the second, the last by the third.
     */
    IN_RUNS,
    /** Pairs take turns. */
    IN_TURN
  }

  /** In which files the metadata say the width of windows. */
  public enum WindowKey {
    WHERE_THERE,
    /** 0 where there is none. */
    ALWAYS,
    NEVER
  }

  /**
   * A number of the metadata, which all files have.
   *
   * @param key behind the name of the architecture
   * @param configKey of {@code config.json}
   */
  public record Value(String key, String configKey, ToDoubleFunction<ModelConfig> of) {}

  /**
   * What llama.cpp knows of a layer when it rotates queries and keys.
   *
   * @param main the rotation of layers that attend to all positions
   * @param windowTheta the base that the metadata name for layers with a window; null for none
   * @param slides whether the layer has a window
   * @param windows whether some layer has one
   */
  public record Turn(
      RopeParameters main,
      @Nullable Double windowTheta,
      int layer,
      boolean slides,
      boolean windows) {}

  /** The rotation that llama.cpp gives a layer; null for none. */
  @FunctionalInterface
  interface LayerRotation {
    @Nullable RopeParameters of(Turn turn);
  }

  private GgufFamily(String name) {
    this.name = name;
  }

  /** Begins the description by {@code general.architecture}. */
  static GgufFamily named(String name) {
    return new GgufFamily(name);
  }

  /**
   * The rows of query and key projections have another order. A head of {@code w} rows is rotated
   * in pairs: in checkpoints row {@code i} with row {@code i + w / 2}, in these files row {@code 2
   * i} with row {@code 2 i + 1}.
   */
  GgufFamily rowsInterleaved() {
    rowsInterleaved = true;
    return this;
  }

  /**
   * Metadata say the sizes of {@link LatentAttention latent vectors}, and those of routers the
   * groups of experts.
   */
  GgufFamily latentAttention() {
    latentAttention = true;
    return names(Map.of(LayerRole.KEY, "attn_k_b.weight", LayerRole.VALUE, "attn_v_b.weight"));
  }

  /**
   * Layers with linear attention are named in the metadata, with its sizes.
   *
   * @param tiled whether the first heads of values of all key heads stand before the second ones,
   *     where weights have all heads of a key head side by side
   */
  GgufFamily linearAttention(boolean tiled) {
    linearAttention = true;
    valueHeadsTiled = tiled;
    return this;
  }

  /**
   * Layers with a {@link ShortConvolution} are those without heads of keys in the metadata, which
   * say its kernel.
   */
  GgufFamily convolutions() {
    convolutions = true;
    return names(Map.of(LayerRole.CONVOLUTION, GgufNames.SHORT_CONVOLUTION));
  }

  /** The name of the final norm's weight, where it is not that of most families. */
  GgufFamily finalNorm(String tensor) {
    finalNorm = tensor;
    return this;
  }

  /**
   * Metadata say how many pairs of a head's elements each of three positions of an image rotates.
   *
   * @param usual these numbers where a config has no {@code mrope_section}
   */
  GgufFamily positions(Positions pairs, Integer... usual) {
    positions = pairs;
    usualSections = List.of(usual);
    return this;
  }

  /** Recent releases of llama.cpp do not read the epsilon of norms, and take 0. */
  GgufFamily withoutEps() {
    withoutEps = true;
    return this;
  }

  /** Tensors by other names than those of most families; roles of one name are rows of one. */
  GgufFamily names(Map<LayerRole, String> ofRoles) {
    names.putAll(ofRoles);
    return this;
  }

  /** Queries, keys and values are rows of one matrix. */
  GgufFamily headsInOne() {
    String matrix = "attn_qkv.weight";
    String bias = "attn_qkv.bias";
    return names(
        Map.of(
            LayerRole.QUERY, matrix,
            LayerRole.KEY, matrix,
            LayerRole.VALUE, matrix,
            LayerRole.QUERY_BIAS, bias,
            LayerRole.KEY_BIAS, bias,
            LayerRole.VALUE_BIAS, bias));
  }

  /** Gate and up projections are rows of one matrix. */
  GgufFamily gateWithUp() {
    return names(Map.of(LayerRole.GATE, "ffn_up.weight"));
  }

  /**
   * The activation of the feed-forward network, where it is not SiLU.
   *
   * @param key of {@code config.json}
   */
  GgufFamily activation(String key, Activation ofNetwork) {
    activationKey = key;
    activation = ofNetwork;
    return this;
  }

  /** The heads of queries must be as wide together as the hidden size. */
  GgufFamily squareOutput() {
    squareOutput = true;
    return this;
  }

  GgufFamily head(Head where) {
    head = where;
    return this;
  }

  GgufFamily biases(Biases read) {
    biases = read;
    return this;
  }

  /**
   * llama.cpp honours attention windows: those of a list, and where there is none, those of all
   * layers but every so many-th.
   */
  GgufFamily windows(int period) {
    windowPeriod = period;
    return this;
  }

  /** The window where metadata say none. */
  GgufFamily defaultWindow(int width) {
    defaultWindow = width;
    return this;
  }

  /** llama.cpp lets all layers attend to all positions, whatever the window. */
  GgufFamily ignoresWindows(WindowKey key) {
    ignoresWindows = true;
    windowKey = key;
    return this;
  }

  /** llama.cpp opens no file without windows, or gives it windows of its own. */
  GgufFamily needsWindow() {
    needsWindow = true;
    return this;
  }

  /** Layers with a window rotate by the base of the others; files say no other one. */
  GgufFamily oneRotation() {
    oneRotation = true;
    return this;
  }

  /**
   * The key of {@code config.json} of the rotary base of layers with a window, 10,000 if unsaid.
   */
  GgufFamily windowThetaKey(String key) {
    windowThetaKey = key;
    return this;
  }

  /** llama.cpp rotates layers by a rule of its own. */
  GgufFamily layerRotation(LayerRotation ofLayer) {
    layerRotation = ofLayer;
    return this;
  }

  /** llama.cpp knows LongRoPE in these files. */
  GgufFamily longRope() {
    longRope = true;
    return this;
  }

  /**
   * Models of the family have a range of YaRN that is not rounded, which llama.cpp rounds all the
   * same.
   */
  GgufFamily yarnIsRounded() {
    yarnIsRounded = true;
    return this;
  }

  /**
   * Products of queries and keys are divided by the root of {@code query_pre_attn_scalar}, which
   * llama.cpp derives: the hidden size divided by the heads in models of so many layers, else the
   * width of a head. Scores and logits have soft-caps.
   */
  GgufFamily scoresByHiddenAt(int layers) {
    scoresByHiddenAt = layers;
    softCaps = true;
    return this;
  }

  /** Shares of experts are a softmax over the chosen ones; else llama.cpp takes one over all. */
  GgufFamily sharesOfChosen() {
    sharesOfChosen = true;
    return this;
  }

  /**
   * Metadata say how many first layers have no mixture, how many experts all tokens share, and how
   * logits of routers become shares.
   */
  GgufFamily routerInMetadata() {
    routerInMetadata = true;
    return this;
  }

  /** Counts of the metadata that are the same in all files. */
  GgufFamily counts(Map<String, Integer> ofKeys) {
    counts = new TreeMap<>(ofKeys);
    return this;
  }

  /** A number that the metadata of all files have. */
  GgufFamily value(String key, String configKey, ToDoubleFunction<ModelConfig> of) {
    values.add(new Value(key, configKey, of));
    return this;
  }

  /** Metadata say whether attention and feed-forward network are parallel. */
  GgufFamily saysParallel() {
    saysParallel = true;
    return this;
  }

  /**
   * What llama.cpp would compute otherwise.
   *
   * @param what gets a model and its window, 0 for none, and says what of it; null for nothing
   */
  GgufFamily refuses(BiFunction<ModelConfig, Integer, @Nullable String> what) {
    refused = what;
    return this;
  }

  /**
   * Changes a config that has the keys of most families to one of this family.
   *
   * @param change gets the config, and the names of the tensors in the file
   */
  GgufFamily config(BiConsumer<ObjectNode, Set<String>> change) {
    config = change;
    return this;
  }

  /** {@code general.architecture}. */
  public String name() {
    return name;
  }

  /** The order of rows in the tensors of a role. */
  GgufWeight.Order rowOrder(LayerRole role, ModelConfig model) {
    return rowsInterleaved
        ? switch (role) {
          case QUERY, QUERY_BIAS, KEY, KEY_BIAS -> new GgufWeight.Order(2, model.headDim(), 1);
          default -> GgufWeight.Order.SAME;
        }
        : GgufWeight.Order.SAME;
  }

  /**
   * The order of what heads of values of linear attention have.
   *
   * @param ofHead elements of a head
   */
  GgufWeight.Order valueHeadOrder(LinearAttention sizes, int ofHead) {
    return valueHeadsTiled
        ? new GgufWeight.Order(sizes.keyHeads(), sizes.valueHeads(), ofHead)
        : GgufWeight.Order.SAME;
  }

  /** The name of the final norm's weight. */
  String finalNorm() {
    return finalNorm;
  }

  /** The family's own name of the tensors of a role; null for that of most families. */
  @Nullable String name(LayerRole role) {
    return names.get(role);
  }

  /** The key of {@code config.json} that names the activation. */
  public String activationKey() {
    return activationKey;
  }

  /** The activation that llama.cpp computes. */
  public Activation activation() {
    return activation;
  }

  /** Whether the heads of queries must be as wide together as the hidden size. */
  public boolean hasSquareOutput() {
    return squareOutput;
  }

  /** Where llama.cpp looks for the output projection. */
  public Head head() {
    return head;
  }

  /** Which biases of projections llama.cpp reads. */
  public Biases biases() {
    return biases;
  }

  /**
   * Of how many layers one has no window where no list says which; 0 where files have no windows.
   */
  public int windowPeriod() {
    return windowPeriod;
  }

  /** The window where metadata say none; 0 for none. */
  public int windowByDefault() {
    return defaultWindow;
  }

  /** In which files the metadata say the width of windows. */
  public WindowKey windowKey() {
    return windowKey;
  }

  /** Whether llama.cpp computes only models with windows, or gives others windows of its own. */
  public boolean hasAlwaysWindow() {
    return needsWindow;
  }

  /** Whether layers with a window rotate by the base of the others. */
  public boolean hasOneRotation() {
    return oneRotation;
  }

  /** The key of {@code config.json} of the rotary base of layers with a window; null for none. */
  public @Nullable String keyOfWindowTheta() {
    return windowThetaKey;
  }

  /** The rotation that llama.cpp gives a layer; null for none. */
  public @Nullable RopeParameters rotation(Turn turn) {
    return layerRotation.of(turn);
  }

  /** Whether llama.cpp knows LongRoPE in these files. */
  public boolean hasLongRope() {
    return longRope;
  }

  /** Whether the range of YaRN of models of the family is rounded by llama.cpp alone. */
  public boolean hasRoundedYarn() {
    return yarnIsRounded;
  }

  /**
   * The width by whose root llama.cpp divides products of queries and keys.
   *
   * @param heads of queries
   */
  public long scoreWidth(long layers, long hiddenSize, long heads, long headDim) {
    return layers == scoresByHiddenAt && heads > 0 ? hiddenSize / heads : headDim;
  }

  /** Whether scores and logits have soft-caps, and configs {@code query_pre_attn_scalar}. */
  public boolean hasSoftCaps() {
    return softCaps;
  }

  /** Whether shares of experts are a softmax over the chosen ones. */
  public boolean hasSharesOfChosen() {
    return sharesOfChosen;
  }

  /** Whether metadata say which layers have mixtures, and what their routers are. */
  public boolean hasRouterInMetadata() {
    return routerInMetadata;
  }

  /** Counts that are the same in all files, by their keys. */
  public Map<String, Integer> counts() {
    return Collections.unmodifiableMap(counts);
  }

  /** Whether metadata say the factor on products of queries and keys. */
  public boolean hasScoreScale() {
    return values.stream().anyMatch(value -> value.key().equals(SCORE_SCALE));
  }

  /** Whether attention has latent vectors, and metadata the groups of experts. */
  public boolean hasLatentAttention() {
    return latentAttention;
  }

  /** Whether some layers have linear attention. */
  public boolean hasLinearAttention() {
    return linearAttention;
  }

  /** Whether metadata say which layers have a {@link ShortConvolution}. */
  public boolean hasConvolutions() {
    return convolutions;
  }

  /** How many pairs each of three positions rotates where a config does not say so. */
  public List<Integer> usualSections() {
    return usualSections;
  }

  /** Whether recent releases of llama.cpp take 0 for the epsilon of norms. */
  public boolean isWithoutEps() {
    return withoutEps;
  }

  /** Which elements each of three positions of an image rotates; null where there is one. */
  public @Nullable Positions positions() {
    return positions;
  }

  /** Whether metadata say that attention and feed-forward network are parallel. */
  public boolean hasParallelKey() {
    return saysParallel;
  }

  /** The numbers that the metadata of all files have. */
  public List<Value> values() {
    return Collections.unmodifiableList(values);
  }

  /** What llama.cpp would compute otherwise of a model with such a window; null for nothing. */
  public @Nullable String whyNot(ModelConfig model, int window) {
    return refused.apply(model, window);
  }

  /** Whether llama.cpp computes without the window that a model has. */
  public boolean hasIgnoredWindows() {
    return ignoresWindows;
  }

  /**
   * Makes a config with the keys of most families one of this family.
   *
   * @param tensors the names of those in the file
   */
  public void adapt(ObjectNode node, Set<String> tensors) {
    config.accept(node, tensors);
  }
}
