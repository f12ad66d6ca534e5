package dev.laco.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Legible;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * A {@code tokenizer.json} whose form has been checked: it is an object with a model, and its
 * components are no larger than any tokenizer needs them. The library that runs the components
 * checks their content.
 *
 * @param json the content
 * @param components the components that process a text, for messages: {@code normalizer NFC,
 *     pre_tokenizer Split + ByteLevel, model BPE}
 */
record TokenizerFile(String json, String components) {
  /** Most bytes of the file; the largest published tokenizers have 33 MB. */
  private static final int MAX_BYTES = 40 << 20;

  private static final int MAX_DEPTH = 64;
  private static final int MAX_ADDED_TOKENS = 200_000;

  /**
   * Most characters of a pattern and of its replacement; the longest pattern of a published model
   * has 1,000.
   */
  private static final int MAX_CHARS = 10_000;

  private static final int MAX_COMPONENTS = 100;

  /**
   * The key of the only text of a component that may be long: the table of a SentencePiece
   * normalizer.
   */
  private static final String TABLE = "precompiled_charsmap";

  private static final JsonFactory JSON =
      JsonFactory.builder()
          .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
          .build();

  /**
   * Reads and checks a file.
   *
   * @throws BadInputException that names the file, and the component where one is too large
   */
  static TokenizerFile read(Path file) {
    return of(file.toString(), TextFile.read(file, MAX_BYTES));
  }

  /**
   * Checks the content of a file.
   *
   * @param file names the file in errors
   * @throws BadInputException that names the file, and the component where one is too large
   */
  static TokenizerFile of(String file, String json) {
    try (JsonParser parser = JSON.createParser(json)) {
      return new TokenizerFile(json, new Reader(file, parser).components());
    } catch (JsonProcessingException e) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: not a tokenizer, line %d: %s",
              file,
              e.getLocation() == null ? 1 : e.getLocation().getLineNr(),
              InputJson.reason(e)),
          e);
    } catch (IOException e) {
      throw new BadInputException(file + ": cannot be read: " + e.getMessage(), e);
    }
  }

  /** Reads a file once, from its begin to its end. */
  private static final class Reader {
    private final String file;
    private final JsonParser parser;

    Reader(String file, JsonParser parser) {
      this.file = file;
      this.parser = parser;
    }

    String components() throws IOException {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw bad("not a tokenizer: expected a JSON object");
      }
      List<String> components = new ArrayList<>();
      boolean hasModel = false;
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        JsonToken value = parser.nextToken();
        switch (key) {
          case "normalizer", "pre_tokenizer", "post_processor", "decoder" -> {
            if (value.isStructStart()) {
              components.add(component(key));
            }
          }
          case "model" -> {
            hasModel = value == JsonToken.START_OBJECT;
            components.add(hasModel ? model() : "");
          }
          case "added_tokens" -> countAddedTokens();
          default -> parser.skipChildren();
        }
      }
      if (parser.nextToken() != null) {
        throw bad("not a tokenizer: something follows the JSON object");
      }
      if (!hasModel) {
        throw bad("not a tokenizer: it has no \"model\"");
      }
      return String.join(", ", components);
    }

    /**
     * Reads to the end of the model, whose vocabulary may be long. Returns the model's key and
     * type.
     */
    private String model() throws IOException {
      String type = "without type";
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        boolean isType = parser.currentName().equals("type");
        if (parser.nextToken() == JsonToken.VALUE_STRING && isType) {
          type = parser.getText();
        }
        parser.skipChildren();
      }
      return "model " + type;
    }

    private void countAddedTokens() throws IOException {
      int count = 0;
      if (parser.currentToken() == JsonToken.START_ARRAY) {
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          parser.skipChildren();
          count++;
        }
      }
      if (count > MAX_ADDED_TOKENS) {
        throw bad(
            String.format(
                Locale.ROOT,
                "added_tokens holds %,d tokens, more than %,d",
                count,
                MAX_ADDED_TOKENS));
      }
    }

    /** Reads to the end of a component. Returns the component's key and the types of its parts. */
    private String component(String key) throws IOException {
      List<String> types = new ArrayList<>();
      int open = 1;
      while (open > 0) {
        JsonToken token = parser.nextToken();
        if (token.isStructStart()) {
          open++;
        } else if (token.isStructEnd()) {
          open--;
        } else if (token == JsonToken.VALUE_STRING) {
          String name = String.valueOf(parser.currentName());
          if (parser.getTextLength() > MAX_CHARS && !name.equals(TABLE)) {
            throw bad(
                String.format(
                    Locale.ROOT,
                    "%s: \"%s\" has %,d characters, more than %,d",
                    key,
                    Legible.excerpt(name),
                    parser.getTextLength(),
                    MAX_CHARS));
          }
          if (name.equals("type")) {
            types.add(parser.getText());
          }
          if (types.size() > MAX_COMPONENTS) {
            throw bad(
                String.format(
                    Locale.ROOT, "%s is made of more than %,d components", key, MAX_COMPONENTS));
          }
        }
      }
      types.remove("Sequence");
      return key + " " + String.join(" + ", types);
    }

    private BadInputException bad(String what) {
      return new BadInputException(file + ": " + what);
    }
  }
}
