package dev.laco.checkpoint.tokenizer;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.checkpoint.tokenizer.TokenizerJson.Added;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SequencedMap;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * The tokenizer of a folder that has no {@code tokenizer.json}: byte-level BPE of {@code
 * vocab.json} and {@code merges.txt}, or SentencePiece's BPE of {@code tokenizer.model}, with what
 * {@code tokenizer_config.json} and {@code added_tokens.json} add.
 */
public final class FolderTokenizer {
  private static final String MADE = "tokenizer.json";
  private static final String VOCABULARY = "vocab.json";
  private static final String MERGES = "merges.txt";
  private static final String PIECES = "tokenizer.model";
  private static final String CONFIG = "tokenizer_config.json";
  private static final String ADDED = "added_tokens.json";

  /** Most bytes of a vocabulary or of its merges; the largest published ones have eight million. */
  private static final int MAX_BYTES = 40 << 20;

  private static final int MAX_TOKENS = 1_000_000;

  /** The classes of transformers whose way to cut words is known. */
  private static final Map<String, Words> CLASSES =
      Map.of("GPT2Tokenizer", Words.GPT2, "Qwen2Tokenizer", Words.QWEN2);

  /** What both of these classes call EOS and what is unknown, where the config does not say. */
  private static final String END_OF_TEXT = "<|endoftext|>";

  private static final JsonFactory JSON = new JsonFactory();

  private final Path folder;
  private final ObjectNode config;
  private final List<String> tokens = new ArrayList<>();
  private final SortedMap<Integer, Added> added = new TreeMap<>();

  private FolderTokenizer(Path folder) {
    this.folder = folder;
    Path file = folder.resolve(CONFIG);
    this.config =
        InputFile.isThere(file)
            ? InputJson.readObject(file)
            : JsonNodeFactory.instance.objectNode();
  }

  /**
   * The text of {@code tokenizer.json} by that name, for a folder that has none but has the files
   * to make it of; else nothing.
   */
  public static SequencedMap<String, Supplier<String>> of(Path folder) {
    SequencedMap<String, Supplier<String>> made = new LinkedHashMap<>();
    if (!InputFile.isThere(folder.resolve(MADE))) {
      if (InputFile.isThere(folder.resolve(VOCABULARY))
          && InputFile.isThere(folder.resolve(MERGES))) {
        made.put(MADE, () -> new FolderTokenizer(folder).byteLevel());
      } else if (InputFile.isThere(folder.resolve(PIECES))) {
        made.put(MADE, () -> new FolderTokenizer(folder).sentencePiece());
      }
    }
    return made;
  }

  private String byteLevel() {
    String className = config.path("tokenizer_class").asText("none").replaceFirst("Fast$", "");
    Words words = CLASSES.get(className);
    if (words == null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tokenizer_class: expected %s, found %s, which may cut words in another way; make a tokenizer.json"
                  + " with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
              folder.resolve(CONFIG),
              CLASSES.keySet().stream().sorted().collect(Collectors.joining(" or ")),
              Legible.excerpt(className)));
    }
    Path file = folder.resolve(VOCABULARY);
    readVocabulary(file).forEach((id, token) -> add(file, id, token));
    Map<String, JsonNode> named = named();
    if (!config.has("eos_token") || !config.has("unk_token")) {
      named.putIfAbsent(END_OF_TEXT, JsonNodeFactory.instance.textNode(END_OF_TEXT));
    }
    addTokens(named);
    return new TokenizerJson(file.toString(), tokens, added, end("bos", false), end("eos", false))
        .byteLevel(words, merges());
  }

  private String sentencePiece() {
    SentencePieceModel model = SentencePieceModel.read(folder.resolve(PIECES));
    tokens.addAll(model.pieces());
    added.putAll(TokenizerJson.added(tokens, model.types()));
    addTokens(named());
    boolean prefix = config.path("add_prefix_space").asBoolean(model.addsPrefix());
    List<Float> scores = new ArrayList<>(model.scores());
    while (scores.size() < tokens.size()) {
      scores.add(0f);
    }
    return new TokenizerJson(
            folder.resolve(PIECES).toString(), tokens, added, end("bos", true), end("eos", false))
        .sentencePiece(prefix, tokens.get(model.unknown()), scores);
  }

  /** The tokens of {@code vocab.json} by their ids. */
  private static SequencedMap<Integer, String> readVocabulary(Path file) {
    SequencedMap<Integer, String> vocabulary = new TreeMap<>();
    try (JsonParser json = JSON.createParser(InputFile.read(file, MAX_BYTES))) {
      if (json.nextToken() != JsonToken.START_OBJECT) {
        throw new BadInputException(file + ": is not a JSON object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String token = json.currentName();
        if (json.nextToken() != JsonToken.VALUE_NUMBER_INT
            || vocabulary.put(json.getIntValue(), token) != null) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: token '%s' has no id, or one that another token has",
                  file,
                  Legible.excerpt(token)));
        }
        if (vocabulary.size() > MAX_TOKENS) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT, "%s: has more than %,d tokens; no more are read", file, MAX_TOKENS));
        }
      }
    } catch (JacksonException e) {
      throw InputJson.error(file.toString(), e);
    } catch (IOException e) {
      throw InputFile.unreadable(file, e);
    }
    return vocabulary;
  }

  /** The tokens that the config names as special, by their texts. */
  private Map<String, JsonNode> named() {
    List<JsonNode> special = new ArrayList<>();
    for (Map.Entry<String, JsonNode> entry : config.properties()) {
      if (entry.getKey().endsWith("_token")) {
        special.add(entry.getValue());
      }
    }
    config.path("additional_special_tokens").forEach(special::add);
    Map<String, JsonNode> named = new LinkedHashMap<>();
    for (JsonNode token : special) {
      String text = (token.isObject() ? token.path("content") : token).textValue();
      if (text != null) {
        named.put(text, token);
      }
    }
    return named;
  }

  /**
   * Adds the tokens that are found in a text before all others, and that a vocabulary may lack:
   * those of chat templates, say.
   *
   * @param named special tokens by their texts
   */
  private void addTokens(Map<String, JsonNode> named) {
    Map<String, Integer> ids = new HashMap<>();
    for (int id = 0; id < tokens.size(); id++) {
      ids.putIfAbsent(tokens.get(id), id);
    }
    named.forEach(
        (text, token) -> {
          Integer id = ids.get(text);
          if (id != null) {
            added.put(id, added(token, true));
          }
        });
    TreeMap<Integer, JsonNode> more = new TreeMap<>();
    Path old = folder.resolve(ADDED);
    if (InputFile.isThere(old)) {
      for (Map.Entry<String, JsonNode> entry : InputJson.readObject(old).properties()) {
        String text = entry.getKey();
        ObjectNode token = JsonNodeFactory.instance.objectNode().put("content", text);
        more.put(entry.getValue().asInt(-1), token.put("special", named.containsKey(text)));
      }
    }
    for (Map.Entry<String, JsonNode> entry : config.path("added_tokens_decoder").properties()) {
      more.put(id(entry.getKey()), entry.getValue());
    }
    Path file = folder.resolve(CONFIG);
    more.forEach(
        (id, token) -> {
          add(file, id, token.path("content").asText());
          added.put(id, added(token, token.path("special").asBoolean()));
        });
  }

  /** How transformers finds a token that a config describes, or names by its text alone. */
  private static Added added(JsonNode token, boolean special) {
    return new Added(
        special,
        token.path("lstrip").asBoolean(),
        token.path("rstrip").asBoolean(),
        token.path("single_word").asBoolean(),
        token.path("normalized").asBoolean(!special));
  }

  private static int id(String text) {
    try {
      return Integer.parseInt(text);
    } catch (NumberFormatException e) {
      return -1;
    }
  }

  /** Adds the next token, or replaces one. */
  private void add(Path file, int id, String token) {
    if (id < 0 || id > tokens.size() || id >= MAX_TOKENS) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: token '%s' has the id %d; expected one of 0 to %d",
              file,
              Legible.excerpt(token),
              id,
              tokens.size()));
    }
    if (id == tokens.size()) {
      tokens.add(token);
    } else {
      tokens.set(id, token);
    }
  }

  private List<String> merges() {
    Path file = folder.resolve(MERGES);
    String text = new String(InputFile.read(file, MAX_BYTES), StandardCharsets.UTF_8);
    return text.lines().filter(line -> !line.startsWith("#version") && !line.isBlank()).toList();
  }

  /**
   * The token at the begin or end of every text.
   *
   * @param name of the token: {@code bos} or {@code eos}
   * @param otherwise whether there is one where the config does not say
   */
  private OptionalInt end(String name, boolean otherwise) {
    if (!config.path("add_" + name + "_token").asBoolean(otherwise)) {
      return OptionalInt.empty();
    }
    JsonNode token = config.path(name + "_token");
    String text = token.isObject() ? token.path("content").asText() : token.asText();
    String usual = name.equals("bos") ? "<s>" : "</s>";
    int id = tokens.indexOf(text.isEmpty() ? usual : text);
    if (id < 0) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %s_token: '%s' is no token of the vocabulary",
              folder.resolve(CONFIG),
              name,
              Legible.excerpt(text)));
    }
    return OptionalInt.of(id);
  }
}
