package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.report.Sample;
import dev.laco.text.StreamingDecoder;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;

/** Continues a few pieces of a text by two models, greedily, to show where they part. */
public final class Continuations {
  /** Tokens of a prompt. */
  public static final int PROMPT = 24;

  /** The most tokens of a continuation. */
  public static final int TOKENS = 32;

  /** What a prompt begins behind. */
  private static final String SENTENCE_END = ".*[.!?\\n][\"'”’)]?\\s*";

  private Continuations() {}

  /**
   * Pieces of a text of {@value #PROMPT} tokens, evenly over the text, each from the begin of a
   * sentence where one is near.
   *
   * @param count at most so many; fewer where the text has no room for them
   */
  public static List<int[]> prompts(List<Chunk> chunks, Tokenizer tokenizer, int count) {
    List<int[]> prompts = new ArrayList<>();
    int front = tokenizer.prefix().length;
    long total = chunks.stream().mapToLong(Chunk::length).sum();
    for (int i = 0; i < count; i++) {
      long place = total * i / count;
      int index = 0;
      while (place >= chunks.get(index).length()) {
        place -= chunks.get(index++).length();
      }
      int[] ids = chunks.get(index).ids();
      int start = sentence(ids, (int) place, tokenizer);
      if (start + PROMPT < ids.length) {
        int[] body = Arrays.copyOfRange(ids, start, start + PROMPT);
        int[] behind = tokenizer.behindPrefix(body);
        prompts.add(
            start < front
                ? Arrays.copyOf(ids, PROMPT)
                : Arrays.copyOf(behind, Math.min(behind.length, PROMPT + 1)));
      }
    }
    return prompts;
  }

  /** The begin of the first sentence from a place on; the place where none begins soon. */
  private static int sentence(int[] ids, int place, Tokenizer tokenizer) {
    for (int at = place; at > 0 && at < Math.min(place + 4 * PROMPT, ids.length); at++) {
      if (tokenizer.decode(new int[] {ids[at - 1]}).matches(SENTENCE_END)) {
        return at;
      }
    }
    return place;
  }

  /**
   * Bytes of the buffers of {@link #of}.
   *
   * @param weights the dtype of the models' matrices
   */
  public static long bytes(Device device, ModelConfig config, DType weights, int prompts) {
    return prompts == 0 ? 0 : Generator.bytes(device, config, weights, prompts, PROMPT + 1, TOKENS);
  }

  /**
   * Continues prompts by two models.
   *
   * @param prompts at most {@value #PROMPT} tokens and one more each
   * @param stopTokens a continuation ends before the first of these
   */
  public static List<Sample> of(
      CausalLm original,
      CausalLm pruned,
      Tokenizer tokenizer,
      List<int[]> prompts,
      Set<Integer> stopTokens) {
    List<List<Integer>> before = continued(original, prompts, stopTokens);
    List<List<Integer>> after = continued(pruned, prompts, stopTokens);
    List<Sample> samples = new ArrayList<>();
    for (int i = 0; i < prompts.size(); i++) {
      int[] prompt = prompts.get(i);
      List<Integer> one = before.get(i);
      List<Integer> other = after.get(i);
      int same = 0;
      while (same < Math.min(one.size(), other.size()) && one.get(same).equals(other.get(same))) {
        same++;
      }
      Supplier<StreamingDecoder> behindPrompt =
          () -> {
            StreamingDecoder decoder = tokenizer.streamingDecoder();
            for (int token : prompt) {
              decoder.append(token);
            }
            return decoder;
          };
      samples.add(
          new Sample(
              tokenizer.decode(prompt),
              same,
              texts(behindPrompt.get(), one),
              texts(behindPrompt.get(), other)));
    }
    return samples;
  }

  private static List<List<Integer>> continued(
      CausalLm model, List<int[]> prompts, Set<Integer> stopTokens) {
    List<List<Integer>> all = new ArrayList<>();
    try (Generator generator =
        new Generator(model, Sampler.GREEDY, stopTokens, prompts.size(), PROMPT + 1, TOKENS)) {
      for (int[] prompt : prompts) {
        List<Integer> tokens = new ArrayList<>();
        all.add(tokens);
        generator.add(prompt, tokens::add);
      }
      generator.finish();
    }
    return all;
  }

  /** The text of each token; that of bytes that are no character yet comes with a later token. */
  private static List<String> texts(StreamingDecoder decoder, List<Integer> tokens) {
    List<String> texts = new ArrayList<>();
    tokens.forEach(token -> texts.add(decoder.append(token)));
    String rest = decoder.flush();
    if (!rest.isEmpty() && !texts.isEmpty()) {
      texts.set(texts.size() - 1, texts.getLast() + rest);
    }
    return texts;
  }
}
