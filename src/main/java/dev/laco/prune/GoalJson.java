package dev.laco.prune;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.io.IOException;

/**
 * Goals in the JSON of requests: {@code {"threshold": 0.65}}, {@code {"layers": 24}}, {@code
 * {"ratio": 0.25}} or {@code {"bytes": 16000000000}}.
 */
final class GoalJson {
  private GoalJson() {}

  /** Writes a goal. */
  static final class Writer extends StdSerializer<Goal> {
    private static final long serialVersionUID = 1L;

    Writer() {
      super(Goal.class);
    }

    @Override
    public void serialize(Goal goal, JsonGenerator json, SerializerProvider provider)
        throws IOException {
      json.writeStartObject();
      switch (goal) {
        case Goal.Threshold threshold -> json.writeNumberField("threshold", threshold.similarity());
        case Goal.Layers layers -> json.writeNumberField("layers", layers.count());
        case Goal.Ratio ratio -> json.writeNumberField("ratio", ratio.removed());
        case Goal.Bytes bytes -> json.writeNumberField("bytes", bytes.weights());
      }
      json.writeEndObject();
    }
  }

  /** Reads a goal. */
  static final class Reader extends StdDeserializer<Goal> {
    private static final long serialVersionUID = 1L;

    Reader() {
      super(Goal.class);
    }

    @Override
    public Goal deserialize(JsonParser parser, DeserializationContext context) throws IOException {
      JsonNode json = context.readTree(parser);
      if (json.size() == 1) {
        JsonNode value = json.iterator().next();
        if (json.has("threshold") && value.isNumber()) {
          return Goal.threshold(value.doubleValue());
        }
        if (json.has("layers") && value.canConvertToInt() && value.isIntegralNumber()) {
          return Goal.layers(value.intValue());
        }
        if (json.has("ratio") && value.isNumber()) {
          return Goal.ratio(value.decimalValue());
        }
        if (json.has("bytes") && value.canConvertToLong() && value.isIntegralNumber()) {
          return Goal.bytes(value.longValue());
        }
      }
      throw JsonMappingException.from(
          parser, "expected one of threshold, layers, ratio and bytes, with a number");
    }
  }
}
