package dev.laco.text;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Legible;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Token sequences in a file: a JSON list of lists of token ids, taken as they are. */
public final class TokenLists {
  private static final JsonFactory JSON = new JsonFactory();

  private final Path file;
  private final int vocabularySize;
  private final JsonParser parser;

  private TokenLists(Path file, int vocabularySize, JsonParser parser) {
    this.file = file;
    this.vocabularySize = vocabularySize;
    this.parser = parser;
  }

  /**
   * Reads {@code [[1, 15, 8], [1, 4]]}.
   *
   * @param vocabularySize ids must lie in {@code 0 .. vocabularySize - 1}
   * @return at least one list, each with at least one id
   * @throws BadInputException if the file is anything else; the message says where
   */
  public static List<int[]> read(Path file, int vocabularySize) {
    String text = TextFile.read(file);
    try (JsonParser parser = JSON.createParser(text)) {
      return new TokenLists(file, vocabularySize, parser).lists();
    } catch (JacksonException e) {
      throw InputJson.error(file.toString(), e);
    } catch (IOException e) {
      throw new BadInputException(file + ": cannot be read: " + e.getMessage(), e);
    }
  }

  private List<int[]> lists() throws IOException {
    JsonToken first = parser.nextToken();
    if (first == JsonToken.START_OBJECT) {
      throw expected("an object" + listKeys());
    }
    if (first != JsonToken.START_ARRAY) {
      throw expected(first == null ? "an empty file" : Legible.excerpt(parser.getText()));
    }
    List<int[]> lists = new ArrayList<>();
    for (JsonToken next = parser.nextToken();
        next != JsonToken.END_ARRAY;
        next = parser.nextToken()) {
      if (next != JsonToken.START_ARRAY) {
        throw expected(String.format(Locale.ROOT, "%s as element %d", describe(), lists.size()));
      }
      if (lists.size() == TextFile.MAX_SAMPLES) {
        throw TextFile.tooMany(file.toString());
      }
      lists.add(list(lists.size()));
    }
    if (lists.isEmpty()) {
      throw new BadInputException(file + ": holds no token lists");
    }
    if (parser.nextToken() != null) {
      throw new BadInputException(file + ": something follows the list of token lists");
    }
    return lists;
  }

  private int[] list(int index) throws IOException {
    int[] ids = new int[64];
    int count = 0;
    for (JsonToken next = parser.nextToken();
        next != JsonToken.END_ARRAY;
        next = parser.nextToken()) {
      if (count == ids.length) {
        ids = Arrays.copyOf(ids, 2 * count);
      }
      ids[count++] = id(next, index);
    }
    if (count == 0) {
      throw new BadInputException(String.format(Locale.ROOT, "%s: list %d is empty", file, index));
    }
    return Arrays.copyOf(ids, count);
  }

  private int id(JsonToken token, int index) throws IOException {
    if (token != JsonToken.VALUE_NUMBER_INT) {
      throw new BadInputException(
          String.format(
              Locale.ROOT, "%s: list %d holds %s, expected token ids", file, index, describe()));
    }
    if (parser.getNumberType() == JsonParser.NumberType.INT) {
      int id = parser.getIntValue();
      if (id >= 0 && id < vocabularySize) {
        return id;
      }
    }
    throw outside(
        String.format(Locale.ROOT, "%s: list %d", file, index), parser.getText(), vocabularySize);
  }

  /**
   * Checks the ids that a tokenizer gave. The tokenizer of another model may have a larger
   * vocabulary than the model.
   *
   * @param where names the text, for the message
   * @throws BadInputException if an id is not in {@code 0 .. vocabularySize - 1}
   */
  public static void requireInVocabulary(String where, int[] ids, int vocabularySize) {
    for (int id : ids) {
      if (id < 0 || id >= vocabularySize) {
        throw outside(where, Integer.toString(id), vocabularySize);
      }
    }
  }

  private static BadInputException outside(String where, String id, int vocabularySize) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s holds token id %s, outside the model's vocabulary of %d: use ids of this model's tokenizer",
            where,
            Legible.excerpt(id),
            vocabularySize));
  }

  private BadInputException expected(String found) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: expected a JSON list of token-id lists like [[1, 15, 8], [1, 4]], found %s",
            file,
            found));
  }

  private String describe() throws IOException {
    return switch (parser.currentToken()) {
      case START_OBJECT -> "an object";
      case START_ARRAY -> "a list";
      default -> Legible.excerpt(parser.getText());
    };
  }

  /**
   * The keys of the object at hand whose values are lists, for the message to a user who meant one
   * of them.
   */
  private String listKeys() throws IOException {
    List<String> keys = new ArrayList<>();
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      if (parser.nextToken() == JsonToken.START_ARRAY) {
        keys.add(key);
      }
      parser.skipChildren();
    }
    return keys.isEmpty()
        ? ""
        : " whose lists are under: " + Legible.excerpt(String.join(", ", keys));
  }
}
