package dev.laco.checkpoint.export;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.StopTokens;
import dev.laco.checkpoint.tokenizer.ChatFiles;
import dev.laco.checkpoint.tokenizer.GgufTokenizer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedSet;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The tokenizer of a checkpoint as metadata of a GGUF file; the other direction is {@link
 * GgufTokenizer}. Where there is none, or one that llama.cpp does not know, the file says that it
 * has none.
 */
final class GgufVocabulary {
  private static final String KEY = "tokenizer.ggml.";
  private static final int MAX_BYTES = 40 << 20;
  private static final int MAX_TOKENS = 1_000_000;

  /** Most bytes of a value that becomes a tree, which takes some twenty times as much memory. */
  private static final int MAX_TREE = 2 << 20;

  /** Keys of the parts of a tokenizer that say how it cuts a text. */
  private static final Set<String> TREES = Set.of("normalizer", "pre_tokenizer", "post_processor");

  private static final int NORMAL = 1;
  private static final int UNKNOWN = 2;
  private static final int CONTROL = 3;
  private static final int USER_DEFINED = 4;
  private static final int UNUSED = 5;
  private static final int BYTE = 6;
  private static final Pattern BYTE_TOKEN = Pattern.compile("<0x[0-9A-F]{2}>");
  private static final JsonMapper JSON = new JsonMapper();

  private final Checkpoint model;
  private final String file;
  private final JsonNode tokenizerConfig;
  private final SequencedSet<Integer> stop;
  private final byte @Nullable [] json;
  private final Map<String, JsonNode> parts = new HashMap<>();
  private final TreeMap<Integer, String> tokens = new TreeMap<>();
  private final Map<Integer, Integer> types = new HashMap<>();
  private final List<String> merges = new ArrayList<>();

  private GgufVocabulary(Checkpoint model) {
    this.model = model;
    this.file =
        Files.isDirectory(model.directory())
            ? model.directory().resolve("tokenizer.json").toString()
            : model.directory().toString();
    this.tokenizerConfig = model.json("tokenizer_config.json");
    this.stop = StopTokens.of(model);
    this.json = json(model);
  }

  /**
   * Reads a checkpoint's tokenizer.
   *
   * @param warnings is told why the file will have none, or not all of its tokens
   * @throws BadInputException if the tokenizer is broken
   */
  static GgufVocabulary of(Checkpoint model, Consumer<String> warnings) {
    GgufVocabulary vocabulary = new GgufVocabulary(model);
    if (vocabulary.json == null) {
      warnings.accept(
          vocabulary.file
              + (model.gguf() == null ? ": is not there" : ": has no tokenizer")
              + "; the GGUF file will have no tokenizer");
      return vocabulary;
    }
    try (JsonParser parser = JSON.createParser(vocabulary.json)) {
      vocabulary.read(parser);
    } catch (JacksonException e) {
      throw InputJson.error(vocabulary.file, e);
    } catch (IOException e) {
      throw new BadInputException(vocabulary.file + ": cannot be read: " + e.getMessage(), e);
    }
    String unknown = vocabulary.unknown();
    if (unknown != null) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp has no name here for its %s; the GGUF file will have no tokenizer",
              vocabulary.file,
              unknown));
      vocabulary.tokens.clear();
    }
    vocabulary.leaveOutFrom(model.config().vocabSize(), warnings);
    return vocabulary;
  }

  /**
   * Leaves out the tokens for which the embedding has no rows: llama.cpp opens no file that has
   * more tokens than rows.
   */
  private void leaveOutFrom(int rows, Consumer<String> warnings) {
    Map<Integer, String> without = tokens.tailMap(rows);
    if (!without.isEmpty()) {
      Map.Entry<Integer, String> first = without.entrySet().iterator().next();
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: tokens without a row in the embedding, which has %d: %d, of which the first is '%s' (%d); the GGUF"
                  + " file will be without them",
              file,
              rows,
              without.size(),
              Legible.excerpt(first.getValue()),
              first.getKey()));
      without.clear();
    }
  }

  private static byte @Nullable [] json(Checkpoint model) {
    Supplier<String> made = model.madeFiles().get("tokenizer.json");
    if (made != null) {
      return made.get().getBytes(StandardCharsets.UTF_8);
    }
    Path path = model.directory().resolve("tokenizer.json");
    return InputFile.isThere(path) ? InputFile.read(path, MAX_BYTES) : null;
  }

  private void read(JsonParser parser) throws IOException {
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw new BadInputException(file + ": is not a JSON object");
    }
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      JsonToken value = parser.nextToken();
      if (key.equals("model") && value == JsonToken.START_OBJECT) {
        readModel(parser);
      } else if (key.equals("added_tokens") && value == JsonToken.START_ARRAY) {
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          add(tree(parser, key));
        }
      } else if (TREES.contains(key)) {
        parts.put(key, tree(parser, key));
      } else {
        parser.skipChildren();
      }
    }
  }

  private void readModel(JsonParser parser) throws IOException {
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      JsonToken value = parser.nextToken();
      if (key.equals("vocab") && value == JsonToken.START_OBJECT) {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String token = parser.currentName();
          parser.nextToken();
          put(parser.getIntValue(), token);
        }
      } else if (key.equals("merges") && value == JsonToken.START_ARRAY) {
        readMerges(parser);
      } else if (value.isScalarValue()) {
        parts.put("model." + key, parser.readValueAsTree());
      } else {
        parser.skipChildren();
      }
    }
  }

  /** Reads merges, each a text with a blank or a list of two texts. */
  private void readMerges(JsonParser parser) throws IOException {
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      JsonNode merge = tree(parser, "merges");
      merges.add(
          merge.isArray() ? merge.path(0).asText() + " " + merge.path(1).asText() : merge.asText());
      if (merges.size() > MAX_TOKENS) {
        throw new BadInputException(
            String.format(
                Locale.ROOT, "%s: has more than %,d merges; no more are read", file, MAX_TOKENS));
      }
    }
  }

  /**
   * The value at which a parser stands; one that is long is not made a tree, which takes memory.
   */
  private JsonNode tree(JsonParser parser, String key) throws IOException {
    if (parser.currentToken().isScalarValue()) {
      return parser.readValueAsTree();
    }
    int begin = (int) parser.currentTokenLocation().getByteOffset();
    if (begin < 0) {
      throw new BadInputException(file + " is not UTF-8 text, convert the file to UTF-8");
    }
    parser.skipChildren();
    int end = (int) parser.currentLocation().getByteOffset();
    if (end - begin > MAX_TREE) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %s: a value has %,d bytes; at most %,d are read",
              file,
              key,
              end - begin,
              MAX_TREE));
    }
    return JSON.readTree(json, begin, end - begin);
  }

  private void put(int id, String token) {
    if (id < 0 || id >= MAX_TOKENS) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: token '%s' has the id %d; ids are below %d",
              file,
              Legible.excerpt(token),
              id,
              MAX_TOKENS));
    }
    tokens.put(id, token);
  }

  private void add(JsonNode added) {
    int id = added.path("id").asInt(-1);
    put(id, added.path("content").asText());
    types.put(id, added.path("special").asBoolean() ? CONTROL : USER_DEFINED);
  }

  private JsonNode part(String key) {
    return parts.getOrDefault(key, MissingNode.getInstance());
  }

  private boolean isSentencePiece() {
    return part("model.byte_fallback").asBoolean();
  }

  /** The part of the tokenizer that llama.cpp does not know; null where it knows all. */
  private @Nullable String unknown() {
    if (!part("model.type").asText("BPE").equals("BPE") || tokens.isEmpty()) {
      return "model " + Legible.excerpt(part("model.type").asText());
    }
    return isSentencePiece() || words() != null ? null : "pre_tokenizer";
  }

  /** The name of the way to cut words; null where it has none. */
  private @Nullable String words() {
    return GgufTokenizer.wordsOf(part("pre_tokenizer"), part("model.ignore_merges").asBoolean());
  }

  /**
   * Writes the metadata.
   *
   * @param size rows of the embedding; ids without a token get one that is not used
   * @param warnings is told of tokens that end a text and that the metadata do not name
   */
  void write(GgufWriter writer, int size, Consumer<String> warnings) {
    if (tokens.isEmpty()) {
      writer.string(KEY + "model", "none");
      return;
    }
    List<String> names = new ArrayList<>();
    List<Integer> kinds = new ArrayList<>();
    for (int id = 0; id < size; id++) {
      String token = tokens.get(id);
      names.add(token == null ? "[PAD" + id + "]" : token);
      kinds.add(token == null ? UNUSED : kind(id, token));
    }
    String words = words();
    writer.string(KEY + "model", isSentencePiece() ? "llama" : "gpt2");
    writer.string(KEY + "pre", isSentencePiece() || words == null ? "default" : words);
    writer.strings(KEY + "tokens", names);
    if (isSentencePiece()) {
      writer.reals(KEY + "scores", scores(names));
      writer.bool(
          KEY + "add_space_prefix",
          part("normalizer").toString().contains("\"Prepend\"")
              || part("pre_tokenizer")
                  .path("prepend_scheme")
                  .asText("never")
                  .matches("first|always"));
    }
    writer.numbers(KEY + "token_type", kinds);
    if (!isSentencePiece()) {
      writer.strings(KEY + "merges", merges);
    }
    ends(writer, warnings);
    ChatFiles chats = new ChatFiles(model.directory(), () -> tokenizerConfig);
    Optional<String> template = chats.template();
    Optional<String> forTools = chats.templateForTools();
    if (!forTools.equals(template)) {
      forTools.ifPresent(tools -> writer.string("tokenizer.chat_template.tool_use", tools));
      writer.strings("tokenizer.chat_templates", List.of("tool_use"));
    }
    template.ifPresent(usual -> writer.string("tokenizer.chat_template", usual));
  }

  private int kind(int id, String token) {
    if (isSentencePiece() && BYTE_TOKEN.matcher(token).matches()) {
      return BYTE;
    }
    if (isSentencePiece() && token.equals(part("model.unk_token").asText())) {
      return UNKNOWN;
    }
    return types.getOrDefault(id, NORMAL);
  }

  /**
   * A score for each piece, so that SentencePiece merges in the order of the merges: the earlier a
   * merge makes a piece, the higher the score of the piece.
   */
  private List<Float> scores(List<String> names) {
    Map<String, Integer> rank = new HashMap<>();
    for (int i = 0; i < merges.size(); i++) {
      int space = merges.get(i).indexOf(' ', 1);
      if (space > 0) {
        rank.putIfAbsent(merges.get(i).substring(0, space) + merges.get(i).substring(space + 1), i);
      }
    }
    return names.stream().map(name -> (float) -rank.getOrDefault(name, merges.size())).toList();
  }

  private void ends(GgufWriter writer, Consumer<String> warnings) {
    List<JsonNode> parts = new ArrayList<>();
    part("post_processor").path("single").forEach(parts::add);
    for (JsonNode step : part("post_processor").path("processors")) {
      step.path("single").forEach(parts::add);
    }
    boolean begins = !parts.isEmpty() && parts.getFirst().has("SpecialToken");
    boolean ends = parts.size() > 1 && parts.getLast().has("SpecialToken");
    id(writer, "bos", begins ? parts.getFirst() : MissingNode.getInstance());
    Integer eos = id(writer, "eos", ends ? parts.getLast() : MissingNode.getInstance());
    moreEnds(writer, eos, warnings);
    id(writer, "unk", part("model.unk_token"));
    id(writer, "pad", MissingNode.getInstance());
    writer.bool(KEY + "add_bos_token", begins);
    writer.bool(KEY + "add_eos_token", ends);
  }

  /**
   * Writes the tokens that end a text beside EOS, and that llama.cpp does not know by their texts,
   * as ends of a turn and of a message: its converter names so what it knows of a model.
   */
  private void moreEnds(GgufWriter writer, @Nullable Integer eos, Consumer<String> warnings) {
    Predicate<String> known = GgufTokenizer.knownEnds(tokens.values());
    Deque<String> free = new ArrayDeque<>(GgufTokenizer.freeEndKeys(tokens.values()));
    for (Integer id : stop) {
      String token = tokens.get(id);
      if (token == null || known.test(token) || id.equals(eos)) {
        continue;
      }
      if (free.isEmpty()) {
        warnings.accept(
            String.format(
                Locale.ROOT,
                "%s: the model ends its text also at the token '%s' (%d); a GGUF file has no place for it, and llama.cpp"
                    + " will go on behind it",
                file,
                Legible.excerpt(token),
                id));
      } else {
        writer.number(KEY + free.remove(), id);
      }
    }
  }

  /**
   * Writes the id of a special token, and returns it: of the token that a part of the tokenizer
   * names, else that {@code tokenizer_config.json} names, else the id in {@code config.json}; null
   * where there is none.
   */
  private @Nullable Integer id(GgufWriter writer, String name, JsonNode named) {
    String key =
        switch (name) {
          case "unk" -> "unknown_token_id";
          case "pad" -> "padding_token_id";
          default -> name + "_token_id";
        };
    JsonNode configured = tokenizerConfig.path(name + "_token");
    JsonNode byId = model.configValue(name + "_token_id");
    List<JsonNode> texts =
        List.of(named.at("/SpecialToken/id"), named, configured.path("content"), configured);
    for (JsonNode text : texts) {
      for (Map.Entry<Integer, String> token : tokens.entrySet()) {
        if (text.isTextual() && token.getValue().equals(text.textValue())) {
          writer.number(KEY + key, token.getKey());
          return token.getKey();
        }
      }
    }
    JsonNode first = byId.isArray() ? byId.path(0) : byId;
    if (first.isIntegralNumber() && tokens.containsKey(first.intValue())) {
      writer.number(KEY + key, first.intValue());
      return first.intValue();
    }
    return null;
  }
}
