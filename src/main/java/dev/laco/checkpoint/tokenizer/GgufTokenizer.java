package dev.laco.checkpoint.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.tokenizer.TokenizerJson.Added;
import dev.laco.model.HuggingFaceJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The tokenizer in the metadata of a GGUF file, as files of Hugging Face's layout: byte-level BPE
 * ({@code gpt2}), and SentencePiece's BPE ({@code llama}), whose merges are those that transformers
 * derives from the scores of the pieces.
 */
public final class GgufTokenizer {
  private static final String KEY = "tokenizer.ggml.";

  /** The models of files without a vocabulary. */
  private static final Set<String> NONE = Set.of("none", "no_vocab");

  /**
   * The names of models whose added tokens take the blanks behind them. A GGUF file does not say
   * how tokens are found in a text; llama.cpp knows these models by their names.
   */
  private static final Pattern PHI3 = Pattern.compile("(?i)phi-?3");

  /** The added tokens of these models that do not. */
  private static final Set<String> PLAIN_IN_PHI3 = Set.of("<unk>", "<s>", "<|endoftext|>");

  /** Keys of tokens that end a text, a turn of a chat, or a message. */
  private static final List<String> END_KEYS =
      List.of("eos_token_id", "eot_token_id", "eom_token_id");

  private static final String RETURN = "<|return|>";

  private static final String MESSAGE_END = "<|eom_id|>";

  /**
   * Tokens that end a turn or a message in every model that has them. Metadata name one EOS, and
   * many files have none of the other keys, so that llama.cpp knows these tokens by their texts.
   */
  private static final Set<String> ENDS =
      Set.of(
          "<|eot_id|>",
          MESSAGE_END,
          "<|im_end|>",
          "<end_of_turn>",
          RETURN,
          "<|call|>",
          "<|endoftext|>",
          "<|end_of_text|>");

  /** The end of a turn, but of a part of a turn in a model that has {@link #RETURN}. */
  private static final String END = "<|end|>";

  /** Of these the tokens that llama.cpp takes for the end of a turn. */
  private static final Set<String> TURN_ENDS =
      Set.of("<|eot_id|>", "<|im_end|>", "<end_of_turn>", END);

  private final Path file;
  private final GgufMetadata metadata;

  public GgufTokenizer(Path file, GgufMetadata metadata) {
    this.file = file;
    this.metadata = metadata;
  }

  /** Whether the file has a tokenizer. */
  public boolean isPresent() {
    return metadata.has(KEY + "model") && !NONE.contains(metadata.show(KEY + "model"));
  }

  private Words words() {
    String name = metadata.string(KEY + "pre").orElse("default");
    return Words.named(name)
        .orElseThrow(
            () ->
                new BadInputException(
                    String.format(
                        Locale.ROOT,
                        "%s: metadata '%spre' is %s, a way to cut words that is not known here; give token ids"
                            + " instead of texts, or put the original's tokenizer.json beside the pruned model",
                        file,
                        KEY,
                        Legible.excerpt(name))));
  }

  /**
   * The name that llama.cpp has for the way in which a tokenizer cuts words; null where it has
   * none.
   *
   * @param preTokenizer of {@code tokenizer.json}
   * @param wholeWords whether a word that is a token is not built by merges
   */
  public static @Nullable String wordsOf(JsonNode preTokenizer, boolean wholeWords) {
    return Words.of(preTokenizer, wholeWords).map(words -> words.names().getFirst()).orElse(null);
  }

  /**
   * The text of {@code tokenizer.json}.
   *
   * @throws BadInputException if the tokenizer is broken, or of a kind that is not known
   */
  public String json() {
    List<String> tokens = metadata.strings(KEY + "tokens");
    if (tokens.isEmpty()) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: metadata '%stokens' is missing", file, KEY));
    }
    String model = metadata.string(KEY + "model").orElse("");
    return switch (model) {
      case "gpt2" -> {
        Words words = words();
        yield vocabulary(tokens, words.begins()).byteLevel(words, metadata.strings(KEY + "merges"));
      }
      case "llama" ->
          vocabulary(tokens, true)
              .sentencePiece(
                  metadata.bool(KEY + "add_space_prefix").orElse(true),
                  token(tokens, "unknown_token_id"),
                  metadata.numbers(KEY + "scores"));
      default ->
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: metadata '%smodel' is %s; gpt2 and llama are supported",
                  file,
                  KEY,
                  Legible.excerpt(model)));
    };
  }

  private TokenizerJson vocabulary(List<String> tokens, boolean begins) {
    SortedMap<Integer, Added> added =
        TokenizerJson.added(tokens, metadata.integers(KEY + "token_type"));
    if (PHI3.matcher(metadata.string("general.name").orElse("")).find()) {
      added.replaceAll(
          (id, how) -> PLAIN_IN_PHI3.contains(tokens.get(id)) ? how : how.withBlanksBehind());
    }
    return new TokenizerJson(
        file.toString(), tokens, added, end(tokens, "bos", begins), end(tokens, "eos", false));
  }

  /** The token that the metadata put at the begin or end of every text. */
  private OptionalInt end(List<String> tokens, String name, boolean otherwise) {
    String key = name + "_token_id";
    if (!metadata.bool(KEY + "add_" + name + "_token").orElse(otherwise)) {
      return OptionalInt.empty();
    }
    OptionalInt id = id(tokens, key);
    if (id.isEmpty()) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: metadata '%s%s' is missing", file, KEY, key));
    }
    return id;
  }

  private @Nullable String token(List<String> tokens, String key) {
    OptionalInt id = id(tokens, key);
    return id.isEmpty() ? null : tokens.get(id.getAsInt());
  }

  /** The id of a token that the metadata name. */
  private OptionalInt id(List<String> tokens, String key) {
    OptionalLong id = metadata.integer(KEY + key);
    if (id.isEmpty()) {
      return OptionalInt.empty();
    }
    if (id.getAsLong() < 0 || id.getAsLong() >= tokens.size()) {
      throw metadata.bad(KEY + key, "an index of the " + tokens.size() + " tokens");
    }
    return OptionalInt.of((int) id.getAsLong());
  }

  /** Which of these tokens end a text, a turn or a message, as their texts tell. */
  public static Predicate<String> knownEnds(Collection<String> tokens) {
    boolean returns = tokens.contains(RETURN);
    return text -> ENDS.contains(text) || (text.equals(END) && !returns);
  }

  /**
   * The keys that may name tokens which end a text, beside that of EOS: those of the end of a turn
   * and of a message, where no token's text tells that it is this end.
   */
  public static List<String> freeEndKeys(Collection<String> tokens) {
    List<String> keys = new ArrayList<>();
    if (Collections.disjoint(tokens, TURN_ENDS)) {
      keys.add("eot_token_id");
    }
    if (!tokens.contains(MESSAGE_END)) {
      keys.add("eom_token_id");
    }
    return keys;
  }

  /** The text of {@code generation_config.json}: the tokens at which the model ends its text. */
  public String generationConfig() {
    List<String> tokens = metadata.strings(KEY + "tokens");
    NavigableSet<Integer> ends = new TreeSet<>();
    for (String key : END_KEYS) {
      id(tokens, key).ifPresent(ends::add);
    }
    Predicate<String> known = knownEnds(tokens);
    for (int id = 0; id < tokens.size(); id++) {
      if (known.test(tokens.get(id))) {
        ends.add(id);
      }
    }
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    if (!ends.isEmpty()) {
      ends.forEach(config.putArray("eos_token_id")::add);
    }
    return HuggingFaceJson.write(config);
  }

  /** The text of {@code tokenizer_config.json}. */
  public String config() {
    List<String> tokens = metadata.strings(KEY + "tokens");
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    Map.of(
            "bos_token", "bos_token_id",
            "eos_token", "eos_token_id",
            "unk_token", "unknown_token_id",
            "pad_token", "padding_token_id")
        .entrySet()
        .stream()
        .sorted(Map.Entry.comparingByKey())
        .forEach(
            entry -> {
              String token = token(tokens, entry.getValue());
              if (token != null) {
                config.put(entry.getKey(), token);
              }
            });
    String templates = "tokenizer.chat_template";
    Optional<String> template = metadata.string(templates);
    Optional<String> forTools = metadata.string(templates + ".tool_use");
    if (forTools.isPresent()) {
      ArrayNode named = config.putArray("chat_template");
      template.ifPresent(text -> named.addObject().put("name", "default").put("template", text));
      named.addObject().put("name", "tool_use").put("template", forTools.get());
    } else {
      template.ifPresent(text -> config.put("chat_template", text));
    }
    config.put("clean_up_tokenization_spaces", false);
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    return HuggingFaceJson.write(config);
  }
}
