package dev.laco.prune;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.cfg.EnumFeature;
import com.fasterxml.jackson.databind.deser.std.FromStringDeserializer;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import com.fasterxml.jackson.databind.ser.std.ToStringSerializer;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.LacoException;
import dev.laco.Legible;
import java.io.IOException;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Requests as JSON. What a request leaves to defaults is left out: {@code
 * {"goal":{"layers":24},"search":{},"fit":{},"texts":{}}} asks a prune for 24 layers and nothing
 * else.
 */
public final class RequestJson {
  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .addModule(
              new SimpleModule()
                  .addSerializer(Goal.class, new GoalSerializer())
                  .addDeserializer(Goal.class, new GoalDeserializer())
                  .addSerializer(Path.class, ToStringSerializer.instance)
                  .addDeserializer(Path.class, new PathDeserializer()))
          .enable(EnumFeature.WRITE_ENUMS_TO_LOWERCASE)
          .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_ENUMS)
          .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .defaultPropertyInclusion(JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, null))
          .build();

  private RequestJson() {}

  /** A request as JSON. */
  public static ObjectNode write(Record request) {
    return MAPPER.valueToTree(request);
  }

  /**
   * Reads a request from a file.
   *
   * @throws BadInputException that names the file, the key, and what is wrong with it
   */
  public static <R extends Record> R read(Path file, Class<R> type) {
    return parse(file.toString(), InputJson.readObject(file), type);
  }

  /**
   * Reads a request from JSON.
   *
   * @param where names it in errors
   * @throws BadInputException that names the key, and what is wrong with it
   */
  public static <R extends Record> R parse(String where, ObjectNode json, Class<R> type) {
    try {
      return MAPPER.treeToValue(json, type);
    } catch (JsonProcessingException e) {
      String key =
          e instanceof JsonMappingException mapping
              ? mapping.getPath().stream()
                  .map(JsonMappingException.Reference::getFieldName)
                  .filter(name -> name != null)
                  .collect(Collectors.joining("."))
              : "";
      String reason =
          e.getCause() instanceof LacoException cause
              ? cause.template()
              : Legible.excerpt(String.valueOf(e.getOriginalMessage()));
      throw new BadInputException(where + ": " + (key.isEmpty() ? "" : key + ": ") + reason, e);
    }
  }

  /** {@code {"threshold": 0.65}}, {@code {"layers": 24}}, {@code {"ratio": 0.25}} or bytes. */
  private static final class GoalSerializer extends StdSerializer<Goal> {
    private static final long serialVersionUID = 1L;

    GoalSerializer() {
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

  private static final class GoalDeserializer extends StdDeserializer<Goal> {
    private static final long serialVersionUID = 1L;

    GoalDeserializer() {
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

  private static final class PathDeserializer extends FromStringDeserializer<Path> {
    private static final long serialVersionUID = 1L;

    PathDeserializer() {
      super(Path.class);
    }

    @Override
    protected @Nullable Path _deserialize(String value, DeserializationContext context)
        throws IOException {
      try {
        return Path.of(value);
      } catch (InvalidPathException e) {
        throw JsonMappingException.from(context, "is no path of a file", e);
      }
    }
  }
}
