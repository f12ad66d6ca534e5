package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import java.util.OptionalInt;

/**
 * Typed reads from a JSON object of a file. JSON {@code null} counts as absent. Every error names
 * file and field.
 *
 * @param file the name of the file, for messages
 * @param node the object
 */
public record JsonFields(String file, JsonNode node) {
  private static final int MAX_EXTENT = 1 << 26;

  public JsonFields {
    if (!node.isObject()) {
      throw new BadInputException(file + ": expected a JSON object, found " + kind(node));
    }
  }

  /**
   * The error for a field with a wrong value.
   *
   * @param expected what the value must be
   */
  public BadInputException error(String field, String expected) {
    return BadInputException.field(file, field, show(field), expected);
  }

  /** Whether the field is there and not {@code null}. */
  public boolean has(String field) {
    return node.hasNonNull(field);
  }

  /** A count or extent from 1 to 2^26; empty where the field is absent. */
  public OptionalInt positive(String field) {
    return atLeast(1, field);
  }

  private OptionalInt atLeast(int least, String field) {
    if (!has(field)) {
      return OptionalInt.empty();
    }
    JsonNode value = node.get(field);
    if (!value.isIntegralNumber()
        || !value.canConvertToInt()
        || value.intValue() < least
        || value.intValue() > MAX_EXTENT) {
      throw error(field, "an integer from " + least + " to " + MAX_EXTENT);
    }
    return OptionalInt.of(value.intValue());
  }

  /** A count from 0 to 2^26; {@code defaultValue} where the field is absent. */
  public int countOr(String field, int defaultValue) {
    return atLeast(0, field).orElse(defaultValue);
  }

  /** A count or extent from 1 to 2^26; {@code defaultValue} where the field is absent. */
  public int positiveOr(String field, int defaultValue) {
    return positive(field).orElse(defaultValue);
  }

  /**
   * A count or extent from 1 to 2^26; 0 where the field is {@code null}, and {@code defaultValue}
   * where it is absent.
   */
  public int positiveOrNull(String field, int defaultValue) {
    return positive(field).orElse(node.has(field) ? 0 : defaultValue);
  }

  /** A count or extent from 1 to 2^26; an error where the field is absent. */
  public int requiredPositive(String field) {
    return positive(field).orElseThrow(() -> error(field, "an integer of at least 1"));
  }

  /** A list of counts from 0 to 2^26; empty where the field is absent. */
  public List<Integer> counts(String field) {
    if (!has(field)) {
      return List.of();
    }
    List<Integer> counts = new ArrayList<>();
    for (JsonNode value : node.get(field)) {
      if (!value.canConvertToInt() || value.intValue() < 0 || value.intValue() > MAX_EXTENT) {
        throw error(field, "a list of integers from 0 to " + MAX_EXTENT);
      }
      counts.add(value.intValue());
    }
    if (!node.get(field).isArray()) {
      throw error(field, "a list");
    }
    return counts;
  }

  /** A finite number; empty where the field is absent. */
  public OptionalDouble number(String field) {
    if (!has(field)) {
      return OptionalDouble.empty();
    }
    JsonNode value = node.get(field);
    if (!value.isNumber() || !Double.isFinite(value.doubleValue())) {
      throw error(field, "a finite number");
    }
    return OptionalDouble.of(value.doubleValue());
  }

  /** A finite number; {@code defaultValue} where the field is absent. */
  public double numberOr(String field, double defaultValue) {
    return number(field).orElse(defaultValue);
  }

  /** A finite number above 0; {@code defaultValue} where the field is absent. */
  public double positiveNumberOr(String field, double defaultValue) {
    double number = numberOr(field, defaultValue);
    if (!(number > 0)) {
      throw error(field, "a number above 0");
    }
    return number;
  }

  /** A finite number; an error where the field is absent. */
  public double requiredNumber(String field) {
    return number(field).orElseThrow(() -> error(field, "a number"));
  }

  /** True or false; {@code defaultValue} where the field is absent. */
  public boolean booleanOr(String field, boolean defaultValue) {
    if (!has(field)) {
      return defaultValue;
    }
    if (!node.get(field).isBoolean()) {
      throw error(field, "true or false");
    }
    return node.get(field).booleanValue();
  }

  /** A string; {@code defaultValue} where the field is absent. */
  public String stringOr(String field, String defaultValue) {
    if (!has(field)) {
      return defaultValue;
    }
    if (!node.get(field).isTextual()) {
      throw error(field, "a string");
    }
    return node.get(field).textValue();
  }

  private String show(String field) {
    JsonNode value = node.get(field);
    if (value == null) {
      return "nothing";
    }
    String text = value.toString();
    return text.length() <= 60 ? text : kind(value) + " " + Legible.excerpt(text);
  }

  private static String kind(JsonNode value) {
    return value.getNodeType().toString().toLowerCase(java.util.Locale.ROOT);
  }
}
