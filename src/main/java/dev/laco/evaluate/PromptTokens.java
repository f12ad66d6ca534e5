package dev.laco.evaluate;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.checkpoint.StopTokens;
import dev.laco.evaluate.TaskItem.Asked;
import dev.laco.text.StreamingDecoder;
import dev.laco.text.TextChunks;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.text.TokenLists;
import dev.laco.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The token ids of contexts and continuations, as lm-evaluation-harness 0.4 makes them (its {@code
 * _encode_pair} and {@code _loglikelihood_tokens}): white space at the end of a context belongs to
 * the continuation; context and continuation are tokenised together, with the tokenizer's special
 * tokens; the continuation's tokens are those behind as many as the context has alone. What is
 * longer than the model's positions loses its beginning.
 */
final class PromptTokens {
  /** Most tokens of prompts that are held, of all tasks: 16 MB. */
  private static final int MOST_HELD = 4 << 20;

  private int held;
  private final Model model;
  private final Tokenizer tokenizer;

  /** The context that was tokenised last: answers of one question have the same. */
  private String context = "";

  private int contextTokens;
  private @Nullable Integer prefix;

  PromptTokens(Model model) {
    this.model = model;
    this.tokenizer =
        model
            .tokenizer()
            .orElseThrow(
                () ->
                    new BadInputException(
                        model.directory()
                            + ": tasks need a tokenizer and the model has "
                            + model.missingTokenizer()
                            + ": "
                            + model.missingTokenizer().remedy()));
  }

  /**
   * A chunk whose scored tokens are those of the continuation.
   *
   * @param where names the item in errors
   */
  Chunk chunk(String where, Asked asked) {
    int[] whole;
    int before;
    if (asked.context().isEmpty()) {
      int[] ids = tokenizer.encodeWithoutSpecial(asked.continuation());
      boolean hasPrefix = ids.length > 0 && ids[0] == prefix();
      whole = hasPrefix ? ids : prefixed(ids);
      before = 1;
    } else {
      String trimmed = PythonText.stripEnd(asked.context());
      if (trimmed.isEmpty()) {
        throw new BadInputException(where + " has a context of white space alone");
      }
      whole = tokenizer.encode(asked.context() + asked.continuation());
      before = contextTokens(trimmed);
    }
    TokenLists.requireInVocabulary(where, whole, model.config().vocabSize());
    int scored = whole.length - before;
    int most = model.config().maxPositionEmbeddings() + 1;
    if (scored < 1 || scored >= most) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: an answer has %d tokens of its own; it may have 1 to %d",
              where,
              scored,
              most - 1));
    }
    int[] kept =
        whole.length > most ? Arrays.copyOfRange(whole, whole.length - most, whole.length) : whole;
    return TextChunks.continuation(kept, kept.length - scored);
  }

  /** Counts tokens that the caller holds from now on; false where there is no room for them. */
  boolean mayHold(int tokens) {
    if (tokens > MOST_HELD - held) {
      return false;
    }
    held += tokens;
    return true;
  }

  /** Says that so many tokens are no longer held. */
  void release(int tokens) {
    held -= tokens;
  }

  /**
   * The windows of a text, each as long as the model's positions, each token scored once. As in the
   * harness ({@code get_rolling_token_windows}) the first window begins with BOS, in front of the
   * special tokens that the tokenizer adds, and the last one has as many tokens before its scored
   * ones as it has room for.
   *
   * @param where names the text in errors
   */
  List<Chunk> windows(String where, String text) {
    int[] ids = tokenizer.encode(text);
    TokenLists.requireInVocabulary(where, ids, model.config().vocabSize());
    if (ids.length == 0) {
      throw new BadInputException(where + " has no tokens");
    }
    int length = model.config().maxPositionEmbeddings();
    int seen = Math.min(length, ids.length);
    List<Chunk> windows = new ArrayList<>();
    windows.add(TextChunks.continuation(prefixed(Arrays.copyOf(ids, seen)), 1));
    while (seen < ids.length) {
      int scored = Math.min(length, ids.length - seen);
      seen += scored;
      int[] window = Arrays.copyOfRange(ids, seen - length - 1, seen);
      windows.add(TextChunks.continuation(window, window.length - scored));
    }
    return windows;
  }

  /**
   * A prompt that the model continues.
   *
   * @param where names the item in errors
   * @param room the tokens for which the model's positions have room behind the prompt
   */
  int[] prompt(String where, String context, int room) {
    int most = model.config().maxPositionEmbeddings() - room;
    if (most < 1) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s is continued by up to %d tokens: the model has only %d positions",
              where,
              room,
              model.config().maxPositionEmbeddings()));
    }
    int[] ids = tokenizer.encode(context);
    TokenLists.requireInVocabulary(where, ids, model.config().vocabSize());
    return ids.length > most ? Arrays.copyOfRange(ids, ids.length - most, ids.length) : ids;
  }

  /** Token ids of a text without the tokenizer's special tokens. */
  int[] plain(String text) {
    return tokenizer.encodeWithoutSpecial(text);
  }

  /** The text of tokens that a model wrote, special tokens left out. */
  String text(int[] ids) {
    return tokenizer.decode(ids);
  }

  /** Decodes tokens one by one. */
  StreamingDecoder decoder() {
    return tokenizer.streamingDecoder();
  }

  /** The tokens at which the model ends its text. */
  Set<Integer> stopTokens() {
    return StopTokens.of(model.checkpoint());
  }

  private int contextTokens(String text) {
    if (!text.equals(context)) {
      contextTokens = tokenizer.encode(text).length;
      context = text;
    }
    return contextTokens;
  }

  private int[] prefixed(int[] ids) {
    int[] all = new int[ids.length + 1];
    all[0] = prefix();
    System.arraycopy(ids, 0, all, 1, ids.length);
    return all;
  }

  /**
   * The token that stands before a text without context: BOS, or EOS of models without BOS, as
   * {@code tokenizer_config.json} names them, else as the config does.
   */
  private int prefix() {
    if (prefix == null) {
      JsonNode config = model.checkpoint().json("tokenizer_config.json");
      JsonNode named = firstOf(config, "bos_token", "eos_token");
      JsonNode bos = model.checkpoint().configValue("bos_token_id");
      JsonNode id = bos.isMissingNode() ? model.checkpoint().configValue("eos_token_id") : bos;
      int[] ids =
          named == null
              ? new int[0]
              : tokenizer.encodeWithoutSpecial(
                  named.isTextual() ? named.textValue() : named.path("content").asText());
      if (ids.length == 1) {
        prefix = ids[0];
      } else if (id.isInt() || id.path(0).isInt()) {
        prefix = id.isInt() ? id.intValue() : id.path(0).intValue();
      } else {
        throw new BadInputException(
            model.directory()
                + ": names no BOS and no EOS token, which a text without context needs");
      }
    }
    return prefix;
  }

  private static @Nullable JsonNode firstOf(JsonNode object, String first, String second) {
    return object.hasNonNull(first) ? object.get(first) : object.get(second);
  }
}
