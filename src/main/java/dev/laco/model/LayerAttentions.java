package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;

/** How a config says which attention each layer has. */
final class LayerAttentions {
  static final String TYPES = "layer_types";
  static final String ROTATED = "no_rope_layers";

  static final String SLIDING = "sliding_attention";
  static final String FULL = TokenMixer.SOFTMAX.configName();

  private LayerAttentions() {}

  /** The attention of each layer: what lists say, or where there are none, the family's rules. */
  static List<LayerAttention> read(
      JsonFields config, Architecture family, int layers, RopeParameters.Reader rotations) {
    int window = family.window(config);
    boolean typed = family.readsList(TYPES) && config.has(TYPES);
    boolean marked = family.readsList(ROTATED) && config.has(ROTATED);
    List<LayerAttention> all = new ArrayList<>();
    for (int layer = 0; layer < layers; layer++) {
      TokenMixer other = family.otherMixer();
      if (other != null) {
        boolean isOther =
            typed
                ? isOfType(config, TYPES, layers, layer, other.configName(), FULL)
                : family.hasOtherMixer(config, layer);
        all.add(
            isOther
                ? LayerAttention.of(other)
                : new LayerAttention(window, family.rotation(rotations, false)));
        continue;
      }
      boolean slides = typed ? isSliding(config, layers, layer) : family.slides(config, layer);
      boolean rotates = marked ? isRotated(config, layers, layer) : family.rotates(config, layer);
      all.add(
          new LayerAttention(
              slides ? window : 0, rotates ? family.rotation(rotations, slides) : null));
    }
    return all;
  }

  private static boolean isSliding(JsonFields config, int layers, int layer) {
    return isOfType(config, TYPES, layers, layer, SLIDING, FULL);
  }

  /** Whether the entry of a layer in a list is the first of two names. */
  static boolean isOfType(
      JsonFields config, String key, int layers, int layer, String first, String second) {
    String type = entry(config, key, layers, layer).asText();
    if (!type.equals(first) && !type.equals(second)) {
      throw config.error(key, second + " or " + first + " at layer " + layer);
    }
    return type.equals(first);
  }

  private static boolean isRotated(JsonFields config, int layers, int layer) {
    JsonNode entry = entry(config, ROTATED, layers, layer);
    if (!entry.isInt() || (entry.intValue() != 0 && entry.intValue() != 1)) {
      throw config.error(ROTATED, "0 or 1 at layer " + layer);
    }
    return entry.intValue() == 1;
  }

  private static JsonNode entry(JsonFields config, String key, int layers, int layer) {
    JsonNode list = config.node().path(key);
    if (!list.isArray() || list.size() != layers) {
      throw config.error(key, "a list of num_hidden_layers, " + layers + ", entries");
    }
    return list.get(layer);
  }

  private static String type(LayerAttention attention) {
    return attention.window() > 0 ? SLIDING : attention.mixer().configName();
  }

  /** Writes the lists that the family reads. */
  static void write(List<LayerAttention> attention, Architecture family, ObjectNode config) {
    if (family.readsList(TYPES)) {
      ArrayNode types = JsonNodeFactory.instance.arrayNode();
      attention.forEach(layer -> types.add(type(layer)));
      config.set(TYPES, types);
    }
    if (family.readsList(ROTATED)) {
      ArrayNode rotated = JsonNodeFactory.instance.arrayNode();
      attention.forEach(layer -> rotated.add(layer.rotation() == null ? 0 : 1));
      config.set(ROTATED, rotated);
    }
  }
}
