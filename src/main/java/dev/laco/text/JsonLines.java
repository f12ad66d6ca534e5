package dev.laco.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Supplier;

/** Reads {@code .jsonl} text: one JSON object in each line; blank lines are skipped. */
final class JsonLines {
  private static final String MESSAGES = "messages";
  private static final String CONVERSATIONS = "conversations";

  /** The roles that ShareGPT calls otherwise. */
  private static final Map<String, String> ROLES = Map.of("human", "user", "gpt", "assistant");

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

    /**
     * The chat of this line, with {@code messages} that have {@code role} and {@code content}. In
     * the form of ShareGPT they are {@code conversations} with {@code from} and {@code value}, and
     * {@code system} is the system's message.
     */
    private JsonNode chat() {
      if (object.has(MESSAGES)) {
        return object;
      }
      ObjectNode chat = object.deepCopy();
      ArrayNode messages = chat.putArray(MESSAGES);
      if (object.path("system").isTextual() && !object.path("system").textValue().isBlank()) {
        messages.addObject().put("role", "system").set("content", object.get("system"));
      }
      for (JsonNode turn : object.path(CONVERSATIONS)) {
        ObjectNode message = messages.addObject();
        String from = turn.path("from").textValue();
        if (from != null) {
          message.put("role", ROLES.getOrDefault(from, from));
        }
        if (turn.has("value")) {
          message.set("content", turn.get("value"));
        }
      }
      return chat;
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
   * of a chat under {@code messages}, or under {@code conversations} as ShareGPT has it.
   *
   * @param tokenizer of the model; is asked for where there is a chat
   * @param blank whether a text may be blank
   * @throws BadInputException as {@link TextFile#read(Path)}, if a line has neither, if its chat
   *     cannot be rendered, or if the texts are too long together
   */
  static List<InputText> texts(Path file, Supplier<Tokenizer> tokenizer, boolean blank) {
    List<InputText> texts = new ArrayList<>();
    long length = 0;
    for (Line line : read(file.toString(), TextFile.read(file))) {
      boolean chat = line.object.has(MESSAGES) || line.object.has(CONVERSATIONS);
      InputText text =
          chat && !line.object.has("text")
              ? tokenizer.get().chat(line.where, line.chat())
              : InputText.of(blank ? line.stringOrBlank("text") : line.string("text"));
      length += text.text().length();
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
