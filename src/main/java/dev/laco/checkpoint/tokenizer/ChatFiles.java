package dev.laco.checkpoint.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.InputFile;
import dev.laco.InputJson;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Supplier;

/**
 * What the files of a model say of chats: the template, and the special tokens that it may write.
 *
 * @param folder the model's folder, or a GGUF file
 * @param config the object of {@code tokenizer_config.json}, or what a GGUF file has in its place;
 *     read where it is needed
 */
public record ChatFiles(Path folder, Supplier<JsonNode> config) {
  private static final String SPECIAL_TOKENS = "special_tokens_map.json";
  private static final String KEY = "chat_template";

  /** Most bytes of a template. */
  private static final int MAX_TEMPLATE = 2 << 20;

  /**
   * The template, from where transformers takes it: {@code chat_template.jinja}, {@code
   * chat_template.json}, or {@code chat_template} of {@code tokenizer_config.json}, which may be a
   * list of templates with names, of which {@code default} is taken. In a GGUF file it is {@code
   * tokenizer.chat_template}.
   *
   * @throws dev.laco.BadInputException if one of these files is broken
   */
  public Optional<String> template() {
    return named("default");
  }

  /**
   * The template for chats with tools: the one named {@code tool_use}, which stands in the list of
   * {@code tokenizer_config.json}, beside {@code chat_template.jinja} in {@code
   * additional_chat_templates/tool_use.jinja}, or in a GGUF file under {@code
   * tokenizer.chat_template.tool_use}; the {@link #template} where there is none.
   *
   * @throws dev.laco.BadInputException if one of these files is broken
   */
  public Optional<String> templateForTools() {
    return named("tool_use").or(this::template);
  }

  private Optional<String> named(String name) {
    boolean usual = name.equals("default");
    Path own = folder.resolve(KEY + ".jinja");
    if (InputFile.isThere(own)) {
      Path file = usual ? own : folder.resolve("additional_" + KEY + "s").resolve(name + ".jinja");
      return InputFile.isThere(file)
          ? Optional.of(new String(InputFile.read(file, MAX_TEMPLATE), StandardCharsets.UTF_8))
          : Optional.empty();
    }
    Path object = folder.resolve(KEY + ".json");
    JsonNode found =
        (InputFile.isThere(object) ? InputJson.readObject(object) : config.get()).path(KEY);
    if (found.isArray()) {
      for (JsonNode each : found) {
        if (each.path("name").asText().equals(name)) {
          return Optional.ofNullable(each.path("template").textValue());
        }
      }
    }
    return usual ? Optional.ofNullable(found.textValue()) : Optional.empty();
  }

  /**
   * The texts of special tokens by their names, as {@code bos_token}.
   *
   * @throws dev.laco.BadInputException if one of the files is broken
   */
  public Map<String, String> specialTokens() {
    Map<String, String> tokens = new TreeMap<>();
    add(config.get(), tokens);
    Path more = folder.resolve(SPECIAL_TOKENS);
    if (InputFile.isThere(more)) {
      add(InputJson.readObject(more), tokens);
    }
    return tokens;
  }

  /** Adds the tokens of a file that no file before has named. */
  private static void add(JsonNode file, Map<String, String> tokens) {
    for (Map.Entry<String, JsonNode> entry : file.properties()) {
      JsonNode token = entry.getValue();
      String text = (token instanceof ObjectNode ? token.path("content") : token).textValue();
      if (entry.getKey().endsWith("_token") && text != null) {
        tokens.putIfAbsent(entry.getKey(), text);
      }
    }
  }
}
