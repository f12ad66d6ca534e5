package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.EnumMap;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
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

  private final String name;
  private boolean rowsInterleaved;
  private final Map<LayerRole, String> names = new EnumMap<>(LayerRole.class);
  private String activationKey = "hidden_act";
  private Activation activation = Activation.SILU;
  private boolean squareOutput;
  private Head head = Head.EITHER;
  private Biases biases = Biases.NONE;
  private int windowPeriod;
  private boolean ignoresWindows;
  private BiConsumer<ObjectNode, Set<String>> config = (node, tensors) -> {};

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

  /** llama.cpp lets all layers attend to all positions, whatever the window. */
  GgufFamily ignoresWindows() {
    ignoresWindows = true;
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

  /** The rows of a head whose order is another in the tensors of a role; 0 where it is the same. */
  int interleavedRows(LayerRole role, ModelConfig model) {
    return rowsInterleaved
        ? switch (role) {
          case QUERY, QUERY_BIAS, KEY, KEY_BIAS -> model.headDim();
          default -> 0;
        }
        : 0;
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
