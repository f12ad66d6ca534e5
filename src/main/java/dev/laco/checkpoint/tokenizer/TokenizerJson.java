package dev.laco.checkpoint.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.OptionalInt;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The text of a {@code tokenizer.json} for a vocabulary of another format: byte-level BPE, and
 * SentencePiece's BPE, whose merges are those that transformers derives from the scores of the
 * pieces.
 *
 * @param file names the vocabulary in errors
 * @param tokens by their ids
 * @param added the tokens that are found in a text before all others, by their ids
 * @param bos the token that begins every text; empty for none
 * @param eos the token that ends every text; empty for none
 */
record TokenizerJson(
    String file,
    List<String> tokens,
    SortedMap<Integer, Added> added,
    OptionalInt bos,
    OptionalInt eos) {
  /** SentencePiece's number of the type of the token for what no token is for. */
  private static final int UNKNOWN = 2;

  /** SentencePiece's number of the type of tokens that mark the parts of a text. */
  private static final int CONTROL = 3;

  /** SentencePiece's number of the type of tokens that whoever made the vocabulary listed. */
  private static final int USER_DEFINED = 4;

  /** Most characters of a piece of SentencePiece; its trainer makes pieces of up to 16. */
  private static final int MAX_TOKEN = 1000;

  /** Most merges; those of the largest published vocabularies are half a million. */
  private static final int MAX_MERGES = 1_000_000;

  /** Most characters of all merges; those of the largest published vocabularies have 6 million. */
  private static final long MAX_MERGED = 16L << 20;

  /**
   * How a token is found in a text before all others.
   *
   * @param special whether the text of token ids is without it
   * @param lstrip whether blanks in front of it are taken with it
   * @param rstrip whether blanks behind it are taken with it
   * @param singleWord whether it is found only where no letter or digit is beside it
   * @param normalized whether it is found in the normalised text, else in the text as it is
   */
  record Added(
      boolean special, boolean lstrip, boolean rstrip, boolean singleWord, boolean normalized) {
    /** Takes blanks behind it. */
    Added withBlanksBehind() {
      return new Added(special, lstrip, true, singleWord, normalized);
    }
  }

  /**
   * The tokens that are found in a text before all others, as transformers and llama.cpp find them.
   *
   * @param types of the first tokens, as SentencePiece numbers them
   */
  static SortedMap<Integer, Added> added(List<String> tokens, List<Integer> types) {
    SortedMap<Integer, Added> added = new TreeMap<>();
    for (int i = 0; i < Math.min(tokens.size(), types.size()); i++) {
      int type = types.get(i);
      if (type == UNKNOWN || type == CONTROL || type == USER_DEFINED) {
        added.put(i, new Added(type != USER_DEFINED, false, false, false, false));
      }
    }
    return added;
  }

  /**
   * Byte-level BPE.
   *
   * @param merges the first first, each two tokens with a blank between them
   */
  String byteLevel(Words words, List<String> merges) {
    ObjectNode frame = JsonNodeFactory.instance.objectNode();
    if (words.normalise()) {
      frame.putObject("normalizer").put("type", "NFC");
    } else {
      frame.putNull("normalizer");
    }
    frame.set("pre_tokenizer", words.preTokenizer());
    frame.set("post_processor", ends());
    frame.set("decoder", Words.byteLevel(true));
    ObjectNode model = frame.putObject("model");
    model.put("type", "BPE").putNull("unk_token").put("fuse_unk", false);
    model.put("byte_fallback", false).put("ignore_merges", words.wholeWords());
    return write(frame, merges);
  }

  /**
   * SentencePiece's BPE.
   *
   * @param prefix whether a blank is put before every text
   * @param unknown the token of what no token is for; null for none
   * @param scores of all tokens
   */
  String sentencePiece(boolean prefix, @Nullable String unknown, List<Float> scores) {
    ObjectNode frame = JsonNodeFactory.instance.objectNode();
    ObjectNode normalizer = frame.putObject("normalizer").put("type", "Sequence");
    normalizer.putArray("normalizers");
    if (prefix) {
      normalizer.withArray("normalizers").addObject().put("type", "Prepend").put("prepend", "▁");
    }
    normalizer.withArray("normalizers").add(replace(" ", "▁"));
    frame.putNull("pre_tokenizer");
    frame.set("post_processor", ends());
    ObjectNode decoder = frame.putObject("decoder").put("type", "Sequence");
    decoder.putArray("decoders").add(replace("▁", " ")).addObject().put("type", "ByteFallback");
    decoder.withArray("decoders").addObject().put("type", "Fuse");
    if (prefix) {
      ObjectNode strip = decoder.withArray("decoders").addObject();
      strip.put("type", "Strip").put("content", " ").put("start", 1).put("stop", 0);
    }
    ObjectNode model = frame.putObject("model");
    model.put("type", "BPE").put("unk_token", unknown);
    model.put("fuse_unk", true).put("byte_fallback", true).put("ignore_merges", false);
    return write(frame, merges(scores));
  }

  private static ObjectNode replace(String from, String to) {
    ObjectNode replace = JsonNodeFactory.instance.objectNode().put("type", "Replace");
    replace.putObject("pattern").put("String", from);
    return replace.put("content", to);
  }

  /**
   * A merge of two pieces.
   *
   * @param piece that they make
   * @param at where the second one begins
   * @param score of the piece
   */
  private record Merge(String piece, int at, float score) {
    int left() {
      return piece.codePointCount(0, at);
    }

    int right() {
      return piece.codePointCount(at, piece.length());
    }

    String text() {
      return piece.substring(0, at) + " " + piece.substring(at);
    }
  }

  /** All merges, the first of which SentencePiece prefers, in the order of transformers. */
  private List<String> merges(List<Float> scores) {
    if (scores.size() != tokens.size()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT, "%s: has %d scores for %d tokens", file, scores.size(), tokens.size()));
    }
    Set<String> known = new HashSet<>(tokens);
    List<Merge> merges = new ArrayList<>();
    long merged = 0;
    for (int i = 0; i < tokens.size(); i++) {
      String token = tokens.get(i);
      if (token.length() > MAX_TOKEN) {
        throw new BadInputException(
            String.format(
                Locale.ROOT, "%s: token %d has more than %d characters", file, i, MAX_TOKEN));
      }
      for (int at = 1; at < token.length(); at++) {
        String left = token.substring(0, at);
        String right = token.substring(at);
        // No text has blanks by then, and a merge is written with one.
        if (token.indexOf(' ') < 0 && known.contains(left) && known.contains(right)) {
          merges.add(new Merge(token, at, scores.get(i)));
          merged += token.length();
        }
      }
      if (merges.size() > MAX_MERGES || merged > MAX_MERGED) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: its first %d tokens are made by %,d merges of %,d characters; at most %,d of"
                    + " %,d are read",
                file,
                i + 1,
                merges.size(),
                merged,
                MAX_MERGES,
                MAX_MERGED));
      }
    }
    merges.sort(
        Comparator.comparingDouble(Merge::score)
            .thenComparingInt(Merge::left)
            .thenComparingInt(Merge::right)
            .reversed());
    return merges.stream().map(Merge::text).toList();
  }

  /** What adds BOS and EOS. */
  private ObjectNode ends() {
    ObjectNode post = JsonNodeFactory.instance.objectNode().put("type", "TemplateProcessing");
    List<String> single = new ArrayList<>(List.of(""));
    ObjectNode special = JsonNodeFactory.instance.objectNode();
    bos.ifPresent(id -> single.addFirst(named(id, special)));
    eos.ifPresent(id -> single.addLast(named(id, special)));
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

  private String named(int id, ObjectNode special) {
    String token = tokens.get(id);
    ObjectNode entry = special.putObject(token).put("id", token);
    entry.putArray("ids").add(id);
    entry.putArray("tokens").add(token);
    return token;
  }

  private String write(ObjectNode frame, List<String> merges) {
    StringWriter text = new StringWriter();
    try (JsonGenerator json = new JsonFactory(new JsonMapper()).createGenerator(text)) {
      json.writeStartObject();
      json.writeStringField("version", "1.0");
      json.writeNullField("truncation");
      json.writeNullField("padding");
      json.writeArrayFieldStart("added_tokens");
      for (var entry : added.entrySet()) {
        json.writeTree(entry(entry.getKey(), tokens.get(entry.getKey()), entry.getValue()));
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

  private static ObjectNode entry(int id, String token, Added how) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("id", id)
        .put("content", token)
        .put("single_word", how.singleWord)
        .put("lstrip", how.lstrip)
        .put("rstrip", how.rstrip)
        .put("normalized", how.normalized)
        .put("special", how.special);
  }
}
