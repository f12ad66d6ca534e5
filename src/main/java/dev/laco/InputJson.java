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
 * Reads JSON into a tree: configs, plans, lines of texts. Reading is strict: no key may stand twice
 * in an object, and nothing may follow the document. Numbers keep all their digits. Documents are
 * limited to 2 MB, since a tree takes many times the memory of its text.
 */
public final class InputJson {
  /** Most bytes or characters of a document; configs and plans have a few kilobytes. */
  private static final int MAX_LENGTH = 2 << 20;

  private static final JsonMapper JSON =
      JsonMapper.builder()
          // Infinity and NaN, as Python writes them: some configs have them.
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
    return readObject(path, MAX_LENGTH);
  }

  /**
   * Reads a JSON object from a file of at most {@code most} bytes.
   *
   * @throws BadInputException if the file is missing, too long, no JSON object, or has a key twice
   */
  public static ObjectNode readObject(Path path, int most) {
    byte[] bytes = InputFile.read(path, most);
    JsonNode json = parse(path.toString(), () -> JSON.readTree(bytes));
    if (json instanceof ObjectNode object) {
      return object;
    }
    throw new BadInputException(path + ": is not a JSON object");
  }

  /**
   * Reads a document. Blank text gives a missing node.
   *
   * @param where names the document in errors: a file, or a line of a file
   * @throws BadInputException if the text is too long, is not JSON, or has a key twice
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

  /** The error for a file whose text is not JSON. */
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

  /** What Jackson says is wrong with the text, without the names of Java methods and settings. */
  public static String reason(JacksonException e) {
    return Legible.excerpt(
        String.valueOf(e.getOriginalMessage())
            .replaceFirst(", from `[^`]{1,100}`", "")
            .replaceFirst("( for `[^`]{1,100}`)?: not allowed when `[^`]{1,100}` enabled", "")
            .replaceFirst(" \\(bound as `[^`]{1,100}`\\): not allowed as per `[^`]{1,100}`", "")
            .replaceFirst(": enable `[^`]{1,100}` to allow", "")
            .replaceFirst(
                " \\(not recognized as one since Feature '[A-Z_]{1,100}'[^)]{1,100}\\)", "")
            .replaceFirst(
                " \\(start marker at \\[Source: .{1,200}; line: (\\d+), column: (\\d+)\\]\\)",
                " that begins at line $1, column $2"));
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
