package dev.laco.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.BooleanNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.TextNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.text.jinja.Template;
import dev.laco.text.jinja.TemplateException;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * The template by which a model was taught chats. It makes the text of a chat, as {@code
 * apply_chat_template(messages, tokenize=False)} of transformers does.
 */
public final class ChatTemplate {
  private static final String MESSAGES = "messages";
  private static final String TOOLS = "tools";

  private final String model;
  private final Supplier<Optional<String>> source;
  private final Supplier<Optional<String>> sourceForTools;
  private final Supplier<Map<String, String>> specialTokens;

  /** The templates that were needed so far, by whether they are for chats with tools. */
  private final Map<Boolean, Template> templates = new HashMap<>();

  private final Map<String, JsonNode> tokens = new HashMap<>();

  /**
   * A template that is read for the first chat.
   *
   * @param model names the model in errors
   * @param source gives the template, if the model has one
   * @param sourceForTools gives the template for chats with tools, if the model has one
   * @param specialTokens gives the texts of special tokens by their names, as {@code bos_token}
   */
  public ChatTemplate(
      String model,
      Supplier<Optional<String>> source,
      Supplier<Optional<String>> sourceForTools,
      Supplier<Map<String, String>> specialTokens) {
    this.model = model;
    this.source = source;
    this.sourceForTools = sourceForTools;
    this.specialTokens = specialTokens;
  }

  /**
   * The text of a chat.
   *
   * @param where names the chat in errors
   * @param without what needs no template, for errors, with its verb, as {@code a prompt needs}
   * @param answer whether the text goes on to where the model's answer begins
   * @param chat an object with {@code messages}, each of which has a {@code role}; with {@code
   *     tools} where the chat has them, and {@code chat_template_kwargs} for more variables
   * @throws BadInputException if the model has no template, or the template fails with this chat
   */
  String render(String where, String without, boolean answer, JsonNode chat) {
    check(where, chat.path(MESSAGES));
    boolean tools = chat.path(TOOLS).isArray();
    Template template =
        templates.computeIfAbsent(
            tools, each -> read(where, without, each ? sourceForTools : source));
    Map<String, JsonNode> variables = new HashMap<>(tokens);
    // To a template these are None, not undefined, where a chat has none.
    variables.put(TOOLS, NullNode.instance);
    variables.put("documents", NullNode.instance);
    chat.path("chat_template_kwargs")
        .properties()
        .forEach(entry -> variables.put(entry.getKey(), entry.getValue()));
    variables.put(MESSAGES, chat.path(MESSAGES));
    variables.put("add_generation_prompt", BooleanNode.valueOf(answer));
    if (tools) {
      variables.put(TOOLS, chat.path(TOOLS));
    }
    try {
      return template.render(variables);
    } catch (TemplateException e) {
      throw refused(where + ": the chat template of " + model + " refuses the chat: ", without, e);
    }
  }

  private static void check(String where, JsonNode messages) {
    boolean sound = messages.isArray() && !messages.isEmpty();
    for (JsonNode message : messages) {
      sound &= message.path("role").isTextual();
    }
    if (!sound) {
      throw new BadInputException(
          where
              + ": \"messages\": expected a list of objects with a \"role\", as"
              + " [{\"role\": \"user\", \"content\": \"...\"}], or \"conversations\" of objects"
              + " with \"from\" and \"value\"");
    }
  }

  private Template read(String where, String without, Supplier<Optional<String>> from) {
    String text =
        from.get()
            .orElseThrow(
                () ->
                    new BadInputException(
                        String.format(
                            Locale.ROOT,
                            "%s: a chat needs a chat template and %s has none (chat_template.jinja,"
                                + " or chat_template in tokenizer_config.json): add it; %s no"
                                + " template",
                            where,
                            model,
                            without)));
    specialTokens.get().forEach((name, token) -> tokens.put(name, TextNode.valueOf(token)));
    try {
      return Template.parse(text);
    } catch (TemplateException e) {
      throw refused(model + ": the chat template cannot be run here: ", without, e);
    }
  }

  private static BadInputException refused(String what, String without, TemplateException e) {
    return new BadInputException(
        what + Legible.excerpt(String.valueOf(e.getMessage())) + "; " + without + " no template",
        e);
  }
}
