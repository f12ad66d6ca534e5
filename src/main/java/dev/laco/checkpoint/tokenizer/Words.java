package dev.laco.checkpoint.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * A way to cut a text into words before byte-level BPE. A GGUF file has a name of it as {@code
 * tokenizer.ggml.pre}; {@code tokenizer.json} has the regular expressions themselves, one behind
 * the other, as {@code pre_tokenizer}.
 *
 * @param names that llama.cpp has for it, the usual one first
 * @param patterns of words, each in what the ones before it have left; none for that of GPT-2
 * @param normalise whether the text gets Unicode's form NFC
 * @param wholeWords whether a word that is a token is not built by merges
 * @param begins whether a text begins with BOS where the metadata do not say
 */
record Words(
    List<String> names,
    List<String> patterns,
    boolean normalise,
    boolean wholeWords,
    boolean begins) {
  /** In the place of a pattern: each digit is a word, by the part {@code Digits}. */
  private static final String DIGITS = "digits";

  private static final String CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  private static final String BLANKS = "|\\s+(?!\\S)|\\s+";
  private static final String OTHERS = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+" + BLANKS;

  /** Splits numbers into groups of three digits. */
  private static final String THREE_DIGITS =
      CONTRACTION + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" + OTHERS;

  /** Splits numbers into digits. */
  private static final String ONE_DIGIT =
      CONTRACTION + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" + OTHERS;

  /** A word that ends in lower case. */
  private static final String LOWER =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+";

  /** A word that begins in upper case. */
  private static final String UPPER =
      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*";

  private static final String OTHERS_WITH_SLASHES =
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+" + BLANKS;

  static final Words GPT2 =
      of(List.of(), "gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "trillion", "mellum");

  static final Words QWEN2 =
      of(List.of(ONE_DIGIT), "qwen2", "deepseek-r1-qwen", "kormo", "megrez").normalised();

  /** All that are known; of several with the same patterns the usual one comes first. */
  private static final List<Words> ALL =
      List.of(
          GPT2,
          of(List.of(DIGITS), "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"),
          of(List.of(THREE_DIGITS), "llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2")
              .asLlama3(),
          of(List.of(THREE_DIGITS), "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
          QWEN2,
          of(List.of(ONE_DIGIT), "hunyuan", "stablelm2", "grok-2"),
          of(
                  List.of(
                      CONTRACTION
                          + "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                          + "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"
                          + BLANKS),
                  "qwen35")
              .normalised(),
          of(
              List.of(
                  CONTRACTION
                      + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}"
                      + "| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+"
                      + BLANKS),
              "seed-coder"),
          of(List.of(LOWER + "|" + UPPER + "|\\p{N}" + OTHERS_WITH_SLASHES), "tekken").asLlama3(),
          of(
              List.of(
                  (LOWER + CONTRACTION + "?|" + UPPER + CONTRACTION + "?|\\p{N}{1,3}")
                      + OTHERS_WITH_SLASHES),
              "gpt-4o",
              "llama4",
              "minimax-m2"),
          of(
              List.of(
                  "\\p{N}{1,3}",
                  "[一-龥぀-ゟ゠-ヿ]+",
                  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                      + "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"
                      + "|\\s*[\\r\\n]+"
                      + BLANKS),
              "deepseek-v3",
              "hunyuan-dense"));

  private static Words of(List<String> patterns, String... names) {
    return new Words(List.of(names), patterns, false, false, false);
  }

  private Words normalised() {
    return new Words(names, patterns, true, wholeWords, begins);
  }

  /** Words that are tokens are not built by merges, and texts begin with BOS. */
  private Words asLlama3() {
    return new Words(names, patterns, normalise, true, true);
  }

  /** The way of a name. */
  static Optional<Words> named(String name) {
    return ALL.stream().filter(words -> words.names.contains(name)).findFirst();
  }

  /**
   * The way of a tokenizer.
   *
   * @param cut its {@code pre_tokenizer}
   * @param wholeWords whether a word that is a token is not built by merges
   */
  static Optional<Words> of(JsonNode cut, boolean wholeWords) {
    List<JsonNode> parts = new ArrayList<>();
    if (cut.path("type").asText().equals("Sequence")) {
      cut.path("pretokenizers").forEach(parts::add);
    } else {
      parts.add(cut);
    }
    JsonNode last = parts.isEmpty() ? cut : parts.removeLast();
    if (!last.path("type").asText().equals("ByteLevel")) {
      return Optional.empty();
    }
    List<String> found = parts.stream().map(Words::pattern).toList();
    boolean cutsAgain = last.path("use_regex").asBoolean(true);
    return ALL.stream()
        .filter(words -> words.patterns.equals(found) && words.cutsAgain() == cutsAgain)
        .min(Comparator.comparing(words -> words.wholeWords != wholeWords));
  }

  /** What a part cuts by. Some tokenizers have ends of lines themselves in their patterns. */
  private static String pattern(JsonNode part) {
    return part.path("type").asText().equals("Digits")
        ? DIGITS
        : part.path("pattern").path("Regex").asText().replace("\r", "\\r").replace("\n", "\\n");
  }

  /** Whether the part {@code ByteLevel} cuts words by the pattern of GPT-2. */
  private boolean cutsAgain() {
    return patterns.isEmpty() || patterns.contains(DIGITS);
  }

  /** The {@code pre_tokenizer} of a {@code tokenizer.json}. */
  ObjectNode preTokenizer() {
    ObjectNode bytes = byteLevel(cutsAgain());
    if (patterns.isEmpty()) {
      return bytes;
    }
    ObjectNode cut = JsonNodeFactory.instance.objectNode().put("type", "Sequence");
    ArrayNode parts = cut.putArray("pretokenizers");
    for (String pattern : patterns) {
      ObjectNode part = parts.addObject();
      if (pattern.equals(DIGITS)) {
        part.put("type", "Digits").put("individual_digits", true);
      } else {
        part.put("type", "Split").putObject("pattern").put("Regex", pattern);
        part.put("behavior", "Isolated").put("invert", false);
      }
    }
    parts.add(bytes);
    return cut;
  }

  /**
   * The part of a tokenizer that makes characters of bytes.
   *
   * @param regex whether it cuts words, too
   */
  static ObjectNode byteLevel(boolean regex) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("type", "ByteLevel")
        .put("add_prefix_space", false)
        .put("trim_offsets", true)
        .put("use_regex", regex);
  }
}
