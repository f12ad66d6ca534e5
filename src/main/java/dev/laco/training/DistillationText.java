package dev.laco.training;

import dev.laco.text.FitText;
import dev.laco.text.Packing;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Random;
import java.util.Set;

/**
 * The text of a training: what is learnt from, and what is held out to measure on.
 *
 * @param learnt chunks of which whole documents are missing
 * @param heldOut chunks of these documents
 */
public record DistillationText(List<FitText.Chunk> learnt, List<FitText.Chunk> heldOut) {
  public DistillationText {
    learnt = List.copyOf(learnt);
    heldOut = List.copyOf(heldOut);
  }

  /** Tokens of what is held out on which a training is measured, at most. */
  private static final int MEASURED = 4096;

  /** Tokens of what is held out that run through a model at once, at most, or one chunk. */
  static final int MEASURED_AT_ONCE = 1024;

  /** Tokens of a training for each held-out token that is measured, where that is one batch. */
  private static final int TOKENS_PER_MEASURED = 8;

  /**
   * Divides a text.
   *
   * @param heldOut the chunks of the text from which nothing is learnt; the last of them, which
   *     have 4,096 tokens, are measured on: a fit of the whole text takes the first
   */
  public static DistillationText of(FitText text, List<FitText.Chunk> heldOut) {
    Set<FitText.Chunk> out = Collections.newSetFromMap(new IdentityHashMap<>());
    out.addAll(heldOut);
    return new DistillationText(
        text.chunks().stream().filter(chunk -> !out.contains(chunk)).toList(),
        new FitText(text.name(), last(heldOut, MEASURED)).limit(MEASURED).chunks());
  }

  /** Tokens of what is learnt from. */
  public long tokens() {
    return FitText.tokens(learnt);
  }

  /**
   * The chunks in which a training meets its text: all of them in an order of chance, and all of
   * them again in another order, until there are enough tokens. Where some are missing to the end,
   * they are the last chunks of the text: a fit takes the first ones ({@link FitText#limit}), and
   * what a fit has seen teaches less.
   *
   * @param tokens the tokens that are wanted
   * @param seed of the orders
   */
  List<FitText.Chunk> order(long tokens, long seed) {
    Random random = new Random(seed);
    List<FitText.Chunk> order = new ArrayList<>();
    long missing = tokens;
    while (missing > 0) {
      List<FitText.Chunk> pass = last(learnt, missing);
      Collections.shuffle(pass, random);
      order.addAll(pass);
      missing -= FitText.tokens(pass);
    }
    return order;
  }

  /** The last of some chunks, which have so many tokens at least, or all of them. */
  private static List<FitText.Chunk> last(List<FitText.Chunk> chunks, long tokens) {
    int from = chunks.size();
    for (long missing = tokens; from > 0 && missing > 0; missing -= chunks.get(from).length()) {
      from--;
    }
    return new ArrayList<>(chunks.subList(from, chunks.size()));
  }

  /**
   * The steps in which a training meets its text.
   *
   * @param tokens on which to train; the last chunk may go beyond them
   */
  List<List<FitText.Chunk>> steps(long tokens, DistillationSettings settings) {
    return parts(order(tokens, settings.seed()), settings.stepTokens(tokens));
  }

  /**
   * The held-out chunks on which a training is measured, in the parts that run at once.
   *
   * @param tokens on which to train
   */
  public List<List<FitText.Chunk>> measured(long tokens) {
    return heldOutParts().stream().limit(measuredBatches(tokens)).toList();
  }

  /** Batches of the held-out text on which a training on so many tokens is measured, at most. */
  static int measuredBatches(long tokens) {
    long measured = tokens / TOKENS_PER_MEASURED / MEASURED_AT_ONCE;
    return Math.toIntExact(Math.clamp(measured, 1, Integer.MAX_VALUE));
  }

  /** All that is held out, in parts that run at once. */
  List<List<FitText.Chunk>> heldOutParts() {
    return parts(heldOut, MEASURED_AT_ONCE);
  }

  /**
   * The most tokens that run through a model at once.
   *
   * @param batchTokens of what is learnt from, at most, or one chunk
   */
  int mostAtOnce(int batchTokens) {
    long measured = Math.min(MEASURED_AT_ONCE, FitText.tokens(heldOut));
    return Math.toIntExact(
        Math.max(Math.max(longest(learnt), batchTokens), Math.max(longest(heldOut), measured)));
  }

  private static int longest(List<FitText.Chunk> chunks) {
    return chunks.stream().mapToInt(FitText.Chunk::length).max().orElse(1);
  }

  /** Cuts a list of chunks, in its order, into parts of at most so many tokens, or of one chunk. */
  static List<List<FitText.Chunk>> parts(List<FitText.Chunk> chunks, int tokens) {
    return Packing.of(chunks, FitText.Chunk::length, tokens);
  }
}
