package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Makes the {@code config.json} of a model with fewer layers. Values per layer become those of the
 * surviving base layers; everything else stays. The rewriter reads the keys at the root and in
 * {@code text_config}, except those that begin with {@code rope_}, whose frequency lists may have
 * any length.
 */
public final class ConfigRewriter {
  private static final Set<String> COUNTS =
      Set.of("num_hidden_layers", "n_layer", "n_layers", "num_layers");

  /**
   * Keys of lists that have an entry for each layer. A list under an unknown key counts as one if
   * its length is the number of layers.
   */
  private static final Set<String> PER_LAYER =
      Set.of("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type");

  /** Keys of lists of layer indices. */
  private static final Set<String> INDICES =
      Set.of(
          "mlp_only_layers",
          "full_attention_layers",
          "full_attn_idxs",
          "cross_attention_layers",
          "attn_layer_indices",
          "global_attn_idx");

  /** Keys of lists of module names. */
  private static final Set<String> MODULE_NAMES = Set.of("modules_to_not_convert");

  /** Keys of lists and objects whose entries do not belong to layers, even if there are as many. */
  private static final Set<String> NOT_PER_LAYER =
      Set.of(
          "architectures",
          "bos_token_id",
          "eos_token_id",
          "pad_token_id",
          "id2label",
          "label2id",
          "suppress_tokens",
          "begin_suppress_tokens",
          "bad_words_ids",
          "keys_to_ignore_at_inference",
          "auto_map",
          "quantization_config",
          Multimodal.TEXT);

  /**
   * Keys that belong to the layers of the language model at the root of a multimodal model, too.
   */
  private static final Set<String> OF_LAYERS =
      Set.of("num_hidden_layers", "layer_types", "max_window_layers");

  /**
   * Keys that choose layers by their position (every third layer, say), and the value that treats
   * all layers alike. Any other value is refused: no value describes an arbitrary choice of layers.
   */
  private static final Map<String, Integer> POSITIONAL =
      Map.ofEntries(
          Map.entry("attn_layer_offset", 0),
          Map.entry("attn_layer_period", 1),
          Map.entry("expert_layer_offset", 0),
          Map.entry("expert_layer_period", 1),
          Map.entry("global_attn_every_n_layers", 1),
          Map.entry("interleave_moe_layer_step", 1),
          Map.entry("layer_group_size", 1),
          Map.entry("moe_layer_freq", 1),
          Map.entry("moe_layer_interval", 1),
          Map.entry("num_kv_shared_layers", 0));

  /** Keys of the number of first layers that are of another kind than those behind them. */
  private static final Set<String> FIRST_LAYERS =
      Set.of(
          "max_window_layers",
          "first_k_dense_replace",
          "num_dense_layers",
          "moe_layer_start_index");

  /** The key of the last layer with a mixture of experts; -1 for the last of all. */
  private static final String LAST_MIXTURE = "moe_layer_end_index";

  /**
   * Keys that choose layers by their position, and the key of the list that has precedence over
   * each.
   */
  private static final Map<String, String> REPLACED_BY_LIST =
      Map.of(
          "full_attention_interval", "layer_types",
          "sliding_window_pattern", "layer_types",
          "no_rope_layer_interval", "no_rope_layers");

  private static final Pattern MODULE = Pattern.compile("(.*\\blayers?\\.)(\\d{1,9})(\\b.*)");

  /** Most characters of the name of a module, which is that of a tensor or a part of it. */
  private static final int MOST_OF_MODULE = 128;

  private final String file;
  private final ModelConfig dense;
  private final int depth;
  private final List<Integer> bases;
  private final Map<Integer, Integer> newIndex = new HashMap<>();

  private ConfigRewriter(String file, ModelConfig dense, List<Integer> bases) {
    this.file = file;
    this.dense = dense;
    this.depth = dense.numHiddenLayers();
    this.bases = bases;
    for (int i = 0; i < bases.size(); i++) {
      newIndex.put(bases.get(i), i);
    }
  }

  /**
   * The config of the model that keeps some layers, with the original's order of keys.
   *
   * @param file the name of the config, for messages
   * @param bases original indices of the surviving base layers, ascending
   * @throws BadInputException naming a key that cannot be re-indexed
   */
  public static ObjectNode rewrite(String file, ObjectNode config, List<Integer> bases) {
    ModelConfig dense = ModelConfig.parse(file, config);
    ObjectNode result = config.deepCopy();
    if (bases.equals(IntStream.range(0, dense.numHiddenLayers()).boxed().toList())) {
      return result;
    }
    requireVisualLayers(file, dense, bases);
    ConfigRewriter rewriter = new ConfigRewriter(file, dense, bases);
    // Only keys that are known to be of the language model are, at the root of a multimodal model.
    rewriter.rewriteObject(
        result, key -> !dense.architecture().isMultimodal() || OF_LAYERS.contains(key));
    if (result.get(Multimodal.TEXT) instanceof ObjectNode text) {
      rewriter.rewriteObject(text, _ -> true);
    }
    ObjectNode text = Multimodal.textOf(result);
    // A config inside another one leaves the number out where it is the default of its class.
    text.put(Multimodal.LAYERS, bases.size());
    rewriter.keepAttention(result, text);
    rewriter.keepMixtures(result, text);
    rewriter.keepResidualScale(result, text);
    return result;
  }

  private static void requireVisualLayers(String file, ModelConfig dense, List<Integer> bases) {
    for (int layer = 0; layer < dense.visualLayers(); layer++) {
      if (layer >= bases.size() || bases.get(layer) != layer) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: layer %d cannot be removed: a %s adds features of images behind its first %d layers",
                file,
                layer,
                dense.architecture().className(),
                dense.visualLayers()));
      }
    }
  }

  /**
   * Checks that a config can be that of a shallower model.
   *
   * @param file its name for messages
   * @throws BadInputException naming a key that cannot be re-indexed
   */
  public static void requireRewritable(String file, ObjectNode config) {
    int depth = ModelConfig.parse(file, config).numHiddenLayers();
    rewrite(file, config, IntStream.range(0, Math.max(1, depth - 1)).boxed().toList());
  }

  /**
   * Checks that every key of a config that depends on the number of layers agrees with it.
   *
   * @throws BadInputException naming the key that does not
   */
  public static void requireDepth(String file, ObjectNode config, int depth) {
    Stream.of(config, config.path(Multimodal.TEXT))
        .flatMap(object -> object.properties().stream())
        .forEach(
            entry -> {
              JsonNode value = entry.getValue();
              String key = entry.getKey();
              boolean wrong =
                  (COUNTS.contains(key) && value.isNumber() && value.intValue() != depth)
                      || (PER_LAYER.contains(key) && value.isArray() && value.size() != depth);
              if (wrong) {
                throw new BadInputException(
                    String.format(
                        Locale.ROOT, "%s: %s does not fit a model of %d layers", file, key, depth));
              }
            });
  }

  private void rewriteObject(ObjectNode object, Predicate<String> keys) {
    for (Map.Entry<String, JsonNode> entry : List.copyOf(object.properties())) {
      String key = entry.getKey();
      if (keys.test(key) && !key.startsWith("rope_") && !NOT_PER_LAYER.contains(key)) {
        JsonNode value = rewriteValue(object, key, entry.getValue());
        if (value != null) {
          object.set(key, value);
        }
      }
    }
  }

  /** The new value of a key, or null if the value stays. */
  private @Nullable JsonNode rewriteValue(ObjectNode object, String key, JsonNode value) {
    if (value instanceof ArrayNode list) {
      return rewriteList(key, list);
    }
    if (value instanceof ObjectNode dictionary) {
      return rewriteDictionary(key, dictionary);
    }
    if (!value.isNumber()) {
      return null;
    }
    if (COUNTS.contains(key)) {
      return rewriteCount(key, value);
    }
    if (FIRST_LAYERS.contains(key)) {
      return IntNode.valueOf(keptBefore(value.intValue()));
    }
    if (key.equals(LAST_MIXTURE) && value.intValue() >= 0) {
      return IntNode.valueOf(keptBefore(value.intValue() + 1) - 1);
    }
    refusePositional(object, key, value);
    return null;
  }

  /** How many layers in front of this one are kept. */
  private int keptBefore(int layer) {
    return (int) bases.stream().filter(base -> base < layer).count();
  }

  private IntNode rewriteCount(String key, JsonNode value) {
    if (value.intValue() != depth) {
      throw error(
          key,
          String.format(
              Locale.ROOT, "is %s, but the model has %d layers", Legible.excerpt(value), depth));
    }
    return IntNode.valueOf(bases.size());
  }

  private void refusePositional(ObjectNode object, String key, JsonNode value) {
    Integer harmless = POSITIONAL.get(key);
    if (harmless != null && value.doubleValue() != harmless) {
      throw error(key, "tells layers apart by their position, which pruning changes");
    }
    String list = REPLACED_BY_LIST.get(key);
    if (list != null && !object.path(list).isArray() && !dense.architecture().readsList(list)) {
      throw error(
          key, "tells layers apart by their position, which pruning changes; add the list " + list);
    }
  }

  private @Nullable JsonNode rewriteList(String key, ArrayNode list) {
    if (list.isEmpty()) {
      return null;
    }
    if (MODULE_NAMES.contains(key)) {
      return rewriteModuleNames(list);
    }
    if (INDICES.contains(key)) {
      return rewriteIndices(key, list);
    }
    if (list.size() == depth) {
      ArrayNode kept = JsonNodeFactory.instance.arrayNode();
      bases.forEach(base -> kept.add(list.get(base)));
      return kept;
    }
    if (PER_LAYER.contains(key) || key.contains("layer")) {
      throw error(
          key,
          String.format(
              Locale.ROOT,
              "has %d entries, which is neither one for each of %d layers nor a list that we know",
              list.size(),
              depth));
    }
    return null;
  }

  private ArrayNode rewriteIndices(String key, ArrayNode list) {
    ArrayNode kept = JsonNodeFactory.instance.arrayNode();
    for (JsonNode index : list) {
      Integer mapped = newIndex.get(requireLayer(key, index.asText()));
      if (mapped != null) {
        kept.add(mapped);
      }
    }
    return kept;
  }

  private ArrayNode rewriteModuleNames(ArrayNode list) {
    ArrayNode kept = JsonNodeFactory.instance.arrayNode();
    for (JsonNode name : list) {
      Matcher module = module(name.asText());
      if (module == null) {
        kept.add(name);
      } else {
        Integer mapped = newIndex.get(Integer.valueOf(module.group(2)));
        if (mapped != null) {
          kept.add(TextNode.valueOf(module.group(1) + mapped + module.group(3)));
        }
      }
    }
    return kept;
  }

  /** The parts of the name of a layer's module; null for other texts. */
  private static @Nullable Matcher module(String name) {
    Matcher module = MODULE.matcher(name);
    return name.length() <= MOST_OF_MODULE && module.matches() ? module : null;
  }

  private @Nullable JsonNode rewriteDictionary(String key, ObjectNode dictionary) {
    Set<Map.Entry<String, JsonNode>> entries = dictionary.properties();
    if (entries.stream().anyMatch(entry -> module(entry.getKey()) != null)) {
      throw error(key, "is keyed by the names of layers, which we cannot re-index");
    }
    if (entries.isEmpty() || !entries.stream().allMatch(e -> e.getKey().matches("\\d{1,9}"))) {
      return null;
    }
    ObjectNode kept = JsonNodeFactory.instance.objectNode();
    for (Map.Entry<String, JsonNode> entry : entries) {
      Integer mapped = newIndex.get(requireLayer(key, entry.getKey()));
      if (mapped != null) {
        kept.set(mapped.toString(), entry.getValue());
      }
    }
    return kept;
  }

  private int requireLayer(String key, String index) {
    if (!index.matches("\\d{1,9}") || Integer.parseInt(index) >= depth) {
      throw error(
          key,
          String.format(
              Locale.ROOT,
              "names layer %s of a model of %d layers",
              Legible.excerpt(index),
              depth));
    }
    return Integer.parseInt(index);
  }

  /**
   * Keeps the attention of every surviving base layer. Where a layer would have another one at its
   * new index, because loaders derive it from the index, the lists of all layers are written.
   */
  private void keepAttention(ObjectNode result, ObjectNode text) {
    List<LayerAttention> expected = bases.stream().map(dense.attention()::get).toList();
    if (ModelConfig.parse(file, result).attention().equals(expected)) {
      return;
    }
    LayerAttentions.write(expected, dense.architecture(), text);
    if (!ModelConfig.parse(file, result).attention().equals(expected)) {
      throw new BadInputException(
          file + ": the surviving layers' attention types cannot be written into a config");
    }
  }

  /**
   * Keeps the mixture of experts of every surviving base layer that has one. Where the config would
   * give a layer at its new index another kind of feed-forward network, it gets a list of all
   * layers.
   */
  private void keepMixtures(ObjectNode result, ObjectNode text) {
    if (dense.mixture() == null) {
      return;
    }
    List<Boolean> expected = bases.stream().map(dense.mixture().layers()::get).toList();
    Mixture rewritten = ModelConfig.parse(file, result).mixture();
    if (rewritten != null && rewritten.layers().equals(expected)) {
      return;
    }
    dense.architecture().mixture().orElseThrow().writeLayers(expected, text);
  }

  /** Keeps the factor on what layers add, which some configs have by the number of layers. */
  private void keepResidualScale(ObjectNode result, ObjectNode text) {
    if (ModelConfig.parse(file, result).residualScale() != dense.residualScale()) {
      text.put(MiniCpm3.DEPTH_SCALE, dense.residualScale() * Math.sqrt(bases.size()));
    }
  }

  private BadInputException error(String key, String problem) {
    return new BadInputException(
        String.format(Locale.ROOT, "%s: %s %s", file, Legible.excerpt(key), problem));
  }
}
