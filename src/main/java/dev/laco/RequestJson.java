package dev.laco;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonSetter;
import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonValue;
import com.fasterxml.jackson.annotation.Nulls;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.cfg.CoercionAction;
import com.fasterxml.jackson.databind.cfg.CoercionInputShape;
import com.fasterxml.jackson.databind.deser.std.StdScalarDeserializer;
import com.fasterxml.jackson.databind.exc.InvalidNullException;
import com.fasterxml.jackson.databind.exc.InvalidTypeIdException;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.exc.UnrecognizedPropertyException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import com.fasterxml.jackson.databind.ser.std.ToStringSerializer;
import com.fasterxml.jackson.databind.type.LogicalType;
import java.io.IOException;
import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Collection;
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
                  .addSerializer(new EnumSerializer())
                  .addDeserializer(Path.class, new PathDeserializer()))
          .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_ENUMS)
          .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NUMBERS_FOR_ENUMS)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .withCoercionConfigDefaults(
              any -> any.setCoercion(CoercionInputShape.EmptyString, CoercionAction.Fail))
          .withCoercionConfig(
              LogicalType.Textual,
              text ->
                  text.setCoercion(CoercionInputShape.Boolean, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Integer, CoercionAction.Fail)
                      .setCoercion(CoercionInputShape.Float, CoercionAction.Fail))
          .defaultSetterInfo(JsonSetter.Value.forContentNulls(Nulls.FAIL))
          .defaultPropertyInclusion(JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, null))
          .build();

  /** What is said to be expected in the place of a type's value. */
  private static final Map<Class<?>, String> EXPECTED =
      Map.ofEntries(
          Map.entry(boolean.class, "true or false"),
          Map.entry(Boolean.class, "true or false"),
          Map.entry(int.class, "a whole number"),
          Map.entry(Integer.class, "a whole number"),
          Map.entry(long.class, "a whole number"),
          Map.entry(Long.class, "a whole number"),
          Map.entry(double.class, "a number"),
          Map.entry(Double.class, "a number"),
          Map.entry(BigDecimal.class, "a number"),
          Map.entry(String.class, "text"),
          Map.entry(Path.class, "text"));

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
      // Jackson leaves out the key that says which kind of request it is.
      boolean inKind =
          type.isAnnotationPresent(JsonSubTypes.class)
              && json.size() == 1
              && !(e instanceof InvalidTypeIdException);
      String kind = inKind ? json.fieldNames().next() : "";
      String key =
          Stream.concat(
                  Stream.of(kind),
                  e.getPath().stream().map(JsonMappingException.Reference::getFieldName))
              .filter(name -> name != null && !name.isEmpty())
              .collect(Collectors.joining("."));
      throw error(e, key.isEmpty() ? where : where + ": " + key, inKind ? json.get(kind) : json);
    } catch (JsonProcessingException e) {
      throw InputJson.error(where, e);
    }
  }

  /**
   * The error of a value, without the names of Java classes.
   *
   * @param what the file and the key in it
   */
  private static BadInputException error(JsonMappingException e, String what, JsonNode json) {
    if (e.getCause() instanceof LacoException cause) {
      return new BadInputException(what + ": " + cause.template(), cause.refusal().orElse(null), e);
    }
    String found = Legible.excerpt(found(e, json));
    String expected = expected(e);
    return expected == null
        ? new BadInputException(what + ": " + InputJson.reason(e), e)
        : new BadInputException(
            what + ": expected " + expected + ", found " + found,
            new Refusal(what, found, expected, null),
            e);
  }

  /** What may stand where something else was found; null where only the message tells. */
  private static @Nullable String expected(JsonMappingException e) {
    return switch (e) {
      case UnrecognizedPropertyException unknown ->
          "one of "
              + joined(
                  Stream.of(unknown.getReferringClass().getRecordComponents())
                      .map(RecordComponent::getName));
      case InvalidNullException nothing -> "a list without null";
      case InvalidTypeIdException unknown -> expected(unknown.getBaseType().getRawClass());
      case MismatchedInputException wrong when wrong.getTargetType() != null ->
          expected(wrong.getTargetType());
      default -> null;
    };
  }

  private static @Nullable String expected(Class<?> type) {
    JsonSubTypes kinds = type.getAnnotation(JsonSubTypes.class);
    if (kinds != null) {
      return "one of " + joined(Stream.of(kinds.value()).map(JsonSubTypes.Type::name));
    }
    if (type.isEnum()) {
      return "one of "
          + joined(Stream.of(type.getEnumConstants()).map(constant -> written((Enum<?>) constant)));
    }
    if (type.isRecord()) {
      RecordComponent first = type.getRecordComponents()[0];
      return first.getAccessor().isAnnotationPresent(JsonValue.class)
          ? expected(first.getType())
          : "an object";
    }
    return Collection.class.isAssignableFrom(type) ? "a list" : EXPECTED.get(type);
  }

  /** A constant as requests have it. */
  private static String written(Enum<?> constant) {
    return constant.name().toLowerCase(Locale.ROOT);
  }

  private static String joined(Stream<?> names) {
    return names.map(String::valueOf).collect(Collectors.joining(", "));
  }

  /** The value that the error is about; the key where a key is not expected. */
  private static Object found(JsonMappingException e, JsonNode json) {
    if (e instanceof UnrecognizedPropertyException unknown) {
      return unknown.getPropertyName();
    }
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

  /** Writes constants in small letters, which Jackson would take from the default locale. */
  private static final class EnumSerializer extends StdSerializer<Enum<?>> {
    private static final long serialVersionUID = 1L;

    EnumSerializer() {
      super(Enum.class, false);
    }

    @Override
    public void serialize(Enum<?> value, JsonGenerator json, SerializerProvider provider)
        throws IOException {
      json.writeString(written(value));
    }
  }

  private static final class PathDeserializer extends StdScalarDeserializer<Path> {
    private static final long serialVersionUID = 1L;

    PathDeserializer() {
      super(Path.class);
    }

    @Override
    public @Nullable Path deserialize(JsonParser json, DeserializationContext context)
        throws IOException {
      if (!json.hasToken(JsonToken.VALUE_STRING) || json.getText().isBlank()) {
        return (Path) context.handleUnexpectedToken(Path.class, json);
      }
      try {
        return Path.of(json.getText());
      } catch (InvalidPathException e) {
        throw JsonMappingException.from(context, "is no path of a file", e);
      }
    }
  }
}
