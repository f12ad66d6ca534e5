package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.model.HuggingFaceJson;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The tokenizer in the metadata of a GGUF file, as files of Hugging Face's layout: byte-level BPE
 * ({@code gpt2}), and SentencePiece's BPE ({@code llama}), whose merges are those that transformers
 * derives from the scores of the pieces.
 */
final class GgufTokenizer {
  private static final String KEY = "tokenizer.ggml.";

  /** Token types of SentencePiece, which GGUF files have for every tokenizer. */
  private static final int CONTROL = 3;

  private static final int USER_DEFINED = 4;

  /** Most characters of a piece of SentencePiece; its trainer makes pieces of up to 16. */
  private static final int MAX_TOKEN = 1000;

  private static final String CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  private static final String OTHERS =
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  /** Splits numbers into groups of three digits. */
  private static final String THREE_DIGITS =
      CONTRACTION + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" + OTHERS;

  /** Splits numbers into digits. */
  private static final String ONE_DIGIT =
      CONTRACTION + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" + OTHERS;

  /** Splits numbers into digits, and words where lower case becomes upper case. */
  private static final String TEKKEN =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
          + "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
          + "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  private final Path file;
  private final GgufMetadata metadata;

  GgufTokenizer(Path file, GgufMetadata metadata) {
    this.file = file;
    this.metadata = metadata;
  }

  /** Whether the file has a tokenizer. */
  boolean isPresent() {
    return metadata.has(KEY + "model");
  }

  /**
   * How a text is cut into words before BPE.
   *
   * @param pattern of words; null for that of GPT-2
   * @param digits whether numbers are cut into digits before
   * @param normalise whether the text gets Unicode's form NFC
   * @param wholeWords whether a word that is a token is not built by merges
   * @param begins whether a text begins with BOS where the metadata do not say
   */
  private record Words(
      @Nullable String pattern,
      boolean digits,
      boolean normalise,
      boolean wholeWords,
      boolean begins) {}

  private Words words() {
    String name = metadata.string(KEY + "pre").orElse("default");
    return switch (name) {
      case "gpt-2", "phi-2", "olmo", "mpt" -> new Words(null, false, false, false, false);
      case "smollm", "starcoder", "refact", "command-r" ->
          new Words(null, true, false, false, false);
      case "llama-bpe", "llama3", "llama-v3" -> new Words(THREE_DIGITS, false, false, true, true);
      case "dbrx" -> new Words(THREE_DIGITS, false, false, false, false);
      case "qwen2", "deepseek-r1-qwen" -> new Words(ONE_DIGIT, false, true, false, false);
      case "tekken" -> new Words(TEKKEN, false, false, true, true);
      default ->
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: metadata '%spre' is %s, a way to cut words that is not known here; give token ids"
                      + " instead of texts, or put the original's tokenizer.json beside the pruned model",
                  file,
                  KEY,
                  Legible.excerpt(name)));
    };
  }

  /**
   * The text of {@code tokenizer.json}.
   *
   * @throws BadInputException if the tokenizer is broken, or of a kind that is not known
   */
  String json() {
    List<String> tokens = metadata.strings(KEY + "tokens");
    if (tokens.isEmpty()) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: metadata '%stokens' is missing", file, KEY));
    }
    String model = metadata.string(KEY + "model").orElse("");
    return switch (model) {
      case "gpt2" -> byteLevel(tokens, words());
      case "llama" -> sentencePiece(tokens);
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

  private String byteLevel(List<String> tokens, Words words) {
    ObjectNode frame = JsonNodeFactory.instance.objectNode();
    if (words.normalise) {
      frame.putObject("normalizer").put("type", "NFC");
    } else {
      frame.putNull("normalizer");
    }
    ObjectNode cut = frame.putObject("pre_tokenizer");
    ObjectNode bytes = byteLevelPart(words.pattern == null);
    if (words.pattern == null && !words.digits) {
      cut.setAll(bytes);
    } else {
      cut.put("type", "Sequence");
      ObjectNode first = cut.putArray("pretokenizers").addObject();
      if (words.digits) {
        first.put("type", "Digits").put("individual_digits", true);
      } else {
        first.put("type", "Split").putObject("pattern").put("Regex", words.pattern);
        first.put("behavior", "Isolated").put("invert", false);
      }
      cut.withArray("pretokenizers").add(bytes);
    }
    frame.set("post_processor", ends(tokens, words.begins));
    frame.set("decoder", byteLevelPart(true));
    ObjectNode model = frame.putObject("model");
    model.put("type", "BPE").putNull("unk_token").put("fuse_unk", false);
    model.put("byte_fallback", false).put("ignore_merges", words.wholeWords);
    return write(frame, tokens, metadata.strings(KEY + "merges"));
  }

  private static ObjectNode byteLevelPart(boolean regex) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("type", "ByteLevel")
        .put("add_prefix_space", false)
        .put("trim_offsets", true)
        .put("use_regex", regex);
  }

  private String sentencePiece(List<String> tokens) {
    ObjectNode frame = JsonNodeFactory.instance.objectNode();
    ObjectNode normalizer = frame.putObject("normalizer").put("type", "Sequence");
    normalizer.putArray("normalizers");
    boolean prefix = metadata.bool(KEY + "add_space_prefix").orElse(true);
    if (prefix) {
      normalizer.withArray("normalizers").addObject().put("type", "Prepend").put("prepend", "▁");
    }
    normalizer.withArray("normalizers").add(replace(" ", "▁"));
    frame.putNull("pre_tokenizer");
    frame.set("post_processor", ends(tokens, true));
    ObjectNode decoder = frame.putObject("decoder").put("type", "Sequence");
    decoder.putArray("decoders").add(replace("▁", " ")).addObject().put("type", "ByteFallback");
    decoder.withArray("decoders").addObject().put("type", "Fuse");
    if (prefix) {
      ObjectNode strip = decoder.withArray("decoders").addObject();
      strip.put("type", "Strip").put("content", " ").put("start", 1).put("stop", 0);
    }
    ObjectNode model = frame.putObject("model");
    model.put("type", "BPE").put("unk_token", token(tokens, "unknown_token_id"));
    model.put("fuse_unk", true).put("byte_fallback", true).put("ignore_merges", false);
    return write(frame, tokens, merges(tokens, metadata.numbers(KEY + "scores")));
  }

  private static ObjectNode replace(String from, String to) {
    ObjectNode replace = JsonNodeFactory.instance.objectNode().put("type", "Replace");
    replace.putObject("pattern").put("String", from);
    return replace.put("content", to);
  }

  /**
   * A merge of two pieces.
   *
   * @param score of the piece that they make
   */
  private record Merge(String left, String right, float score) {
    static int length(String piece) {
      return piece.codePointCount(0, piece.length());
    }
  }

  /** All merges, the first of which SentencePiece prefers, in the order of transformers. */
  private List<String> merges(List<String> tokens, List<Float> scores) {
    if (scores.size() != tokens.size()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: metadata '%sscores' has %d scores for %d tokens",
              file,
              KEY,
              scores.size(),
              tokens.size()));
    }
    Set<String> known = new HashSet<>(tokens);
    List<Merge> merges = new ArrayList<>();
    for (int i = 0; i < tokens.size(); i++) {
      String token = tokens.get(i);
      if (token.length() > MAX_TOKEN) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: metadata '%stokens': token %d has more than %d characters",
                file,
                KEY,
                i,
                MAX_TOKEN));
      }
      for (int at = 1; at < token.length(); at++) {
        String left = token.substring(0, at);
        String right = token.substring(at);
        if (known.contains(left) && known.contains(right)) {
          merges.add(new Merge(left, right, scores.get(i)));
        }
      }
    }
    merges.sort(
        Comparator.comparingDouble(Merge::score)
            .thenComparingInt(merge -> Merge.length(merge.left))
            .thenComparingInt(merge -> Merge.length(merge.right))
            .reversed());
    return merges.stream().map(merge -> merge.left + " " + merge.right).toList();
  }

  /** What adds BOS and EOS, where the metadata say so. */
  private ObjectNode ends(List<String> tokens, boolean begins) {
    ObjectNode post = JsonNodeFactory.instance.objectNode().put("type", "TemplateProcessing");
    List<String> single = new ArrayList<>(List.of(""));
    ObjectNode special = JsonNodeFactory.instance.objectNode();
    if (metadata.bool(KEY + "add_bos_token").orElse(begins)) {
      single.addFirst(named(tokens, "bos_token_id", special));
    }
    if (metadata.bool(KEY + "add_eos_token").orElse(false)) {
      single.addLast(named(tokens, "eos_token_id", special));
    }
    for (String key : List.of("single", "pair")) {
      post.putArray(key);
      for (String name : key.equals("single") ? List.of("A") : List.of("A", "B")) {
        for (String part : single) {
          boolean text = part.isEmpty();
          post.withArray(key)
              .addObject()
              .putObject(text ? "Sequence" : "SpecialToken")
              .put("id", text ? name : part)
              .put("type_id", name.equals("A") ? 0 : 1);
        }
      }
    }
    post.set("special_tokens", special);
    return post;
  }

  private String named(List<String> tokens, String key, ObjectNode special) {
    String token = token(tokens, key);
    if (token == null || token.isEmpty()) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: metadata '%s%s' is missing", file, KEY, key));
    }
    ObjectNode entry = special.putObject(token).put("id", token);
    entry.putArray("ids").add(metadata.integer(KEY + key).orElseThrow());
    entry.putArray("tokens").add(token);
    return token;
  }

  private @Nullable String token(List<String> tokens, String key) {
    OptionalLong id = metadata.integer(KEY + key);
    if (id.isEmpty()) {
      return null;
    }
    if (id.getAsLong() < 0 || id.getAsLong() >= tokens.size()) {
      throw metadata.bad(KEY + key, "an index of the " + tokens.size() + " tokens");
    }
    return tokens.get((int) id.getAsLong());
  }

  private String write(ObjectNode frame, List<String> tokens, List<String> merges) {
    List<Integer> types = metadata.integers(KEY + "token_type");
    StringWriter text = new StringWriter();
    try (JsonGenerator json = new JsonFactory(new JsonMapper()).createGenerator(text)) {
      json.writeStartObject();
      json.writeStringField("version", "1.0");
      json.writeNullField("truncation");
      json.writeNullField("padding");
      json.writeArrayFieldStart("added_tokens");
      for (int i = 0; i < Math.min(tokens.size(), types.size()); i++) {
        if (types.get(i) == CONTROL || types.get(i) == USER_DEFINED) {
          json.writeTree(added(i, tokens.get(i), types.get(i) == CONTROL));
        }
      }
      json.writeEndArray();
      for (String key : List.of("normalizer", "pre_tokenizer", "post_processor", "decoder")) {
        json.writeFieldName(key);
        json.writeTree(frame.get(key));
      }
      json.writeObjectFieldStart("model");
      for (var field : frame.get("model").properties()) {
        json.writeFieldName(field.getKey());
        json.writeTree(field.getValue());
      }
      json.writeObjectFieldStart("vocab");
      for (int i = 0; i < tokens.size(); i++) {
        json.writeNumberField(tokens.get(i), i);
      }
      json.writeEndObject();
      json.writeArrayFieldStart("merges");
      for (String merge : merges) {
        json.writeString(merge);
      }
      json.writeEndArray();
      json.writeEndObject();
      json.writeEndObject();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return text.toString();
  }

  private static ObjectNode added(int id, String token, boolean special) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("id", id)
        .put("content", token)
        .put("single_word", false)
        .put("lstrip", false)
        .put("rstrip", false)
        .put("normalized", false)
        .put("special", special);
  }

  /** The text of {@code tokenizer_config.json}. */
  String config() {
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
    metadata
        .string("tokenizer.chat_template")
        .ifPresent(template -> config.put("chat_template", template));
    config.put("clean_up_tokenization_spaces", false);
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    return HuggingFaceJson.write(config);
  }
}
