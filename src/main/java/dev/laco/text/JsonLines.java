package dev.laco.text;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;

/** Reads {@code .jsonl} text: one JSON object in each line; blank lines are skipped. */
final class JsonLines {
  private JsonLines() {}

  /**
   * One line of a file.
   *
   * @param where the file and the line's number, for messages
   */
  record Line(String where, JsonNode object) {
    /**
     * The string under {@code key}.
     *
     * @throws BadInputException if there is no string under the key, or a blank one
     */
    String string(String key) {
      String value = stringOrBlank(key);
      if (value.isBlank()) {
        throw new BadInputException(where + " has an empty \"" + key + "\"");
      }
      return value;
    }

    /**
     * The string under {@code key}, which may be blank.
     *
     * @throws BadInputException if there is no string under the key
     */
    String stringOrBlank(String key) {
      JsonNode value = object.get(key);
      if (value == null || !value.isTextual()) {
        throw new BadInputException(where + " is not an object with a string \"" + key + "\"");
      }
      return value.textValue();
    }
  }

  /**
   * The lines of {@code content}.
   *
   * @param name the name of the file, for messages
   * @throws BadInputException if a line is not JSON
   */
  static List<Line> read(String name, String content) {
    List<Line> lines = new ArrayList<>();
    int number = 0;
    for (Iterator<String> all = content.lines().iterator(); all.hasNext(); ) {
      String line = all.next();
      number++;
      if (!line.isBlank()) {
        if (lines.size() == TextFile.MAX_SAMPLES) {
          throw TextFile.tooMany(name);
        }
        String where = String.format(Locale.ROOT, "%s: line %d", name, number);
        lines.add(new Line(where, InputJson.parse(where, line)));
      }
    }
    return lines;
  }

  /**
   * The text of every line: the string under {@code text}, or what the model's chat template makes
   * of a chat under {@code messages}.
   *
   * @param tokenizer of the model; is asked for where there is a chat
   * @param blank whether a text may be blank
   * @throws BadInputException as {@link TextFile#read(Path)}, if a line has neither, if its chat
   *     cannot be rendered, or if the texts are too long together
   */
  static List<String> texts(Path file, Supplier<Tokenizer> tokenizer, boolean blank) {
    List<String> texts = new ArrayList<>();
    long length = 0;
    for (Line line : read(file.toString(), TextFile.read(file))) {
      boolean chat = line.object.has("messages") && !line.object.has("text");
      String text =
          chat
              ? tokenizer.get().chat(line.where, line.object)
              : blank ? line.stringOrBlank("text") : line.string("text");
      length += text.length();
      // A template can make a long text of a short chat.
      if (length > TextFile.MAX_BYTES) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: the texts up to this line have more than %,d characters; split the file",
                line.where,
                TextFile.MAX_BYTES));
      }
      texts.add(text);
    }
    return texts;
  }
}
