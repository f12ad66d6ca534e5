package dev.laco.evaluate;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Legible;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * One item of a task as its file has it: a JSON object, whose fields are read with errors that name
 * file, line and field.
 *
 * @param where the file and the line, for messages
 */
record Document(String where, ObjectNode json) {
  /** The JSON of a line of a file as a document. */
  static Document of(String where, JsonNode json) {
    if (json instanceof ObjectNode object) {
      return new Document(where, object);
    }
    throw new BadInputException(where + " is not a JSON object");
  }

  /** Whether there is a field that is not null. */
  boolean has(String field) {
    return json.hasNonNull(field);
  }

  /** The value of a text field. */
  String text(String field) {
    return text(field, json.get(field));
  }

  /** The texts of a list that is not empty. */
  List<String> texts(String field) {
    JsonNode list = json.get(field);
    if (list == null || !list.isArray() || list.isEmpty()) {
      throw refuse(field, "a list of texts", list);
    }
    List<String> texts = new ArrayList<>();
    for (JsonNode element : list) {
      texts.add(text(field + "[" + texts.size() + "]", element));
    }
    return texts;
  }

  private String text(String field, @Nullable JsonNode value) {
    if (value == null || !value.isTextual()) {
      throw refuse(field, "text", value);
    }
    return value.textValue();
  }

  /** The object of a field. */
  Document object(String field) {
    if (json.get(field) instanceof ObjectNode object) {
      return new Document(where + ": " + field, object);
    }
    throw refuse(field, "an object", json.get(field));
  }

  /** The objects of a list that is not empty. */
  List<Document> objects(String field) {
    return objects(field, json.get(field));
  }

  /** The same of a list that may also be a text: what Python prints of the list. */
  List<Document> objectsOrPython(String field) {
    JsonNode value = json.get(field);
    return objects(
        field,
        value == null || !value.isTextual()
            ? value
            : InputJson.parse(where + ": " + field, PythonText.json(value.textValue())));
  }

  private List<Document> objects(String field, @Nullable JsonNode list) {
    if (list == null || !list.isArray() || list.isEmpty()) {
      throw refuse(field, "a list of objects", list);
    }
    List<Document> objects = new ArrayList<>();
    for (JsonNode element : list) {
      objects.add(
          Document.of(
              String.format(Locale.ROOT, "%s: %s[%d]", where, field, objects.size()), element));
    }
    return objects;
  }

  /**
   * The whole number of a field, which may be written as text; {@code true} and {@code false} are 1
   * and 0.
   */
  int index(String field, int lowest, int highest) {
    JsonNode value = json.get(field);
    String written = value == null ? "" : value.isBoolean() ? bit(value) : value.asText().strip();
    if (written.matches("\\d{1,4}")) {
      int index = Integer.parseInt(written);
      if (index >= lowest && index <= highest) {
        return index;
      }
    }
    throw refuse(field, "a number from " + lowest + " to " + highest, value);
  }

  private static String bit(JsonNode value) {
    return value.booleanValue() ? "1" : "0";
  }

  /** The place of a field's text in a list. */
  int place(String field, List<String> among) {
    JsonNode value = json.get(field);
    int place = value == null ? -1 : among.indexOf(value.asText().strip());
    if (place < 0) {
      throw refuse(field, "one of " + String.join(", ", among), value);
    }
    return place;
  }

  /** The error that a field has not the value that it should have. */
  BadInputException refuse(String field, String expected, @Nullable JsonNode found) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: \"%s\": expected %s, found %s",
            where,
            field,
            Legible.excerpt(expected),
            found == null ? "nothing" : Legible.excerpt(found.toString())));
  }
}
