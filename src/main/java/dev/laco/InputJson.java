package dev.laco;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;

/**
 * JSON that is held as a tree: configs, plans, lines of texts. Strict (no key twice, nothing behind
 * the document), numbers with all their digits, and short, since a tree takes many times the room
 * of its text.
 */
public final class InputJson {
  /** Most bytes or characters of a document; configs and plans have a few kilobytes. */
  private static final int MAX_LENGTH = 2 << 20;

  private static final JsonMapper JSON =
      JsonMapper.builder()
          // What Python writes for infinite numbers, and configs do hold some.
          .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
          .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private InputJson() {}

  /**
   * Reads a JSON object from a file.
   *
   * @throws BadInputException if the file is missing, too long, no JSON object, or has a key twice
   */
  public static ObjectNode readObject(Path path) {
    byte[] bytes = InputFile.read(path, MAX_LENGTH);
    JsonNode json = parse(path.toString(), () -> JSON.readTree(bytes));
    if (json instanceof ObjectNode object) {
      return object;
    }
    throw new BadInputException(path + ": is not a JSON object");
  }

  /**
   * Reads a document; a missing node if there is none.
   *
   * @param where names it in errors: a file, or a line of one
   * @throws BadInputException if it is too long, no JSON, or has a key twice
   */
  public static JsonNode parse(String where, String text) {
    if (text.length() > MAX_LENGTH) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s is %,d characters long; at most %,d are read as one JSON document",
              where,
              text.length(),
              MAX_LENGTH));
    }
    return parse(where, () -> JSON.readTree(text));
  }

  /** The error that a file holds no JSON. */
  public static BadInputException error(String where, JacksonException e) {
    var at = e.getLocation();
    String place =
        at == null
            ? ""
            : String.format(
                Locale.ROOT, " at line %d, column %d", at.getLineNr(), at.getColumnNr());
    return new BadInputException(
        String.format(Locale.ROOT, "%s: is not valid JSON%s: %s", where, place, reason(e)), e);
  }

  /** What is wrong, without the names of Java methods. */
  public static String reason(JacksonException e) {
    return Legible.excerpt(
        String.valueOf(e.getOriginalMessage()).replaceFirst(", from `[^`]{1,100}`", ""));
  }

  private static JsonNode parse(String where, Source source) {
    try {
      return source.read();
    } catch (JacksonException e) {
      throw error(where, e);
    } catch (NumberFormatException e) {
      throw new BadInputException(where + ": is not valid JSON: a number is out of range", e);
    } catch (IOException e) {
      throw new BadInputException(where + ": cannot be read: " + e.getMessage(), e);
    }
  }

  private interface Source {
    JsonNode read() throws IOException;
  }
}
