package dev.laco;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.cfg.EnumFeature;
import com.fasterxml.jackson.databind.deser.std.FromStringDeserializer;
import com.fasterxml.jackson.databind.exc.InvalidTypeIdException;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.exc.UnrecognizedPropertyException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.ser.std.ToStringSerializer;
import java.io.IOException;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Writes and reads the JSON of requests. */
final class RequestJson {
  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .addModule(
              new SimpleModule()
                  .addSerializer(Path.class, ToStringSerializer.instance)
                  .addDeserializer(Path.class, new PathDeserializer()))
          .enable(EnumFeature.WRITE_ENUMS_TO_LOWERCASE)
          .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_ENUMS)
          .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .defaultPropertyInclusion(JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, null))
          .build();

  /** What is said to be expected in the place of a type's value. */
  private static final Map<Class<?>, String> EXPECTED =
      Map.of(
          Integer.class, "a whole number",
          Long.class, "a whole number",
          Double.class, "a number",
          String.class, "text",
          Path.class, "text",
          List.class, "a list");

  private RequestJson() {}

  /** A request as JSON. */
  static ObjectNode write(Request request) {
    return MAPPER.valueToTree(request);
  }

  /** As {@link Request#parse}. */
  static <R extends Request> R parse(String where, ObjectNode json, Class<R> type) {
    try {
      return MAPPER.treeToValue(json, type);
    } catch (JsonMappingException e) {
      String key =
          e.getPath().stream()
              .map(JsonMappingException.Reference::getFieldName)
              .filter(name -> name != null)
              .collect(Collectors.joining("."));
      throw new BadInputException(
          where + ": " + (key.isEmpty() ? "" : key + ": ") + reason(e, json), e);
    } catch (JsonProcessingException e) {
      throw InputJson.error(where, e);
    }
  }

  /** What is wrong, without the names of Java classes. */
  private static String reason(JsonMappingException e, ObjectNode json) {
    if (e.getCause() instanceof LacoException cause) {
      return cause.template();
    }
    if (e instanceof UnrecognizedPropertyException unknown) {
      return "expected one of " + joined(unknown.getKnownPropertyIds().stream());
    }
    String expected =
        e instanceof MismatchedInputException mismatched ? expected(mismatched) : null;
    return expected == null
        ? Legible.excerpt(String.valueOf(e.getOriginalMessage()))
        : "expected " + expected + ", found " + Legible.excerpt(found(e, json));
  }

  /** What may stand where something else was found; null where only the message tells. */
  private static @Nullable String expected(MismatchedInputException e) {
    Class<?> type =
        e instanceof InvalidTypeIdException unknown
            ? unknown.getBaseType().getRawClass()
            : e.getTargetType();
    if (type == null) {
      return null;
    }
    JsonSubTypes kinds = type.getAnnotation(JsonSubTypes.class);
    if (kinds != null) {
      return "one of " + joined(Stream.of(kinds.value()).map(JsonSubTypes.Type::name));
    }
    if (type.isEnum()) {
      return "one of "
          + joined(
              Stream.of(type.getEnumConstants())
                  .map(constant -> constant.toString().toLowerCase(Locale.ROOT)));
    }
    if (type.isRecord()) {
      return "an object";
    }
    return EXPECTED.get(type);
  }

  private static String joined(Stream<?> names) {
    return names.map(String::valueOf).collect(Collectors.joining(", "));
  }

  /** The value that the error is about. */
  private static JsonNode found(JsonMappingException e, JsonNode json) {
    JsonNode at = json;
    for (JsonMappingException.Reference step : e.getPath()) {
      JsonNode next =
          step.getFieldName() == null ? at.get(step.getIndex()) : at.get(step.getFieldName());
      if (next == null) {
        break;
      }
      at = next;
    }
    return at;
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
