package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.KeyValueCache;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Continues prompts token by token, several at a time, with a KV cache. A step gives one token to
 * every continuation that is running, so that the weights are read once for all of them. When a
 * continuation ends, the next prompt takes its place.
 */
public final class Generator implements AutoCloseable {
  /** The most continuations that run at a time. */
  private static final int MOST_AT_ONCE = 64;

  /** The most bytes of a KV cache of several continuations, if keys and values were f32. */
  private static final long CACHE_BYTES = 1L << 30;

  private final CausalLm model;
  private final Sampler sampler;
  private final Set<Integer> stopTokens;
  private final int maxTokens;
  private final TensorArena arena;
  private final KeyValueCache cache;
  private final Workspace work;
  private final Tensor states;
  private final Tensor logits;
  private final List<float[]> hostLogits;
  private final @Nullable Running[] slots;

  /** Is given the tokens of a continuation. */
  @FunctionalInterface
  public interface Continuation {
    /**
     * Takes the next token.
     *
     * @return whether there shall be another one
     */
    boolean add(int token);

    /** Is called once, after the last token. */
    default void end() {}
  }

  /** A continuation in a slot of the cache, the last token that it was given, and their number. */
  private record Running(Continuation to, int token, int count) {}

  /**
   * Allocates the buffers of a generation.
   *
   * @param stopTokens a continuation ends before the first of these tokens
   * @param prompts the number of prompts, at least one
   * @param longest the most tokens of a prompt
   * @param maxTokens the most tokens of a continuation, at least one
   */
  public Generator(
      CausalLm model,
      Sampler sampler,
      Set<Integer> stopTokens,
      long prompts,
      int longest,
      int maxTokens) {
    this.model = model;
    this.sampler = sampler;
    this.stopTokens = Set.copyOf(stopTokens);
    this.maxTokens = maxTokens;
    ModelConfig config = model.config();
    int capacity = Math.addExact(longest, maxTokens);
    int count = atOnce(config, prompts, capacity);
    int rows = Math.max(longest, count);
    this.slots = new Running[count];
    this.arena = model.backend().arena();
    this.cache = new KeyValueCache(model.backend(), config, model.depth(), count, capacity);
    this.work = new Workspace(model.backend(), config, rows);
    this.states = arena.allocate(DType.F32, rows, config.hiddenSize());
    this.logits = arena.allocate(DType.F32, count, config.vocabSize());
    this.hostLogits =
        IntStream.range(0, count).mapToObj(_ -> new float[config.vocabSize()]).toList();
  }

  /**
   * Bytes of the buffers of a generation.
   *
   * @param weights the dtype of the model's matrices
   */
  public static long bytes(
      Device device, ModelConfig config, DType weights, long prompts, int longest, int maxTokens) {
    int capacity = Math.addExact(longest, maxTokens);
    long count = atOnce(config, prompts, capacity);
    long rows = Math.max(longest, count);
    DType type = KeyValueCache.type(device, config, weights);
    return KeyValueCache.bytes(config, type, count * capacity)
        + Workspace.bytes(config, rows)
        + (rows * config.hiddenSize() + count * config.vocabSize()) * DType.F32.byteSize();
  }

  /** How many continuations run at a time: as many on every device. */
  private static int atOnce(ModelConfig config, long prompts, int capacity) {
    long fit = Math.max(1, CACHE_BYTES / KeyValueCache.bytes(config, DType.F32, capacity));
    return (int) Math.min(Math.min(prompts, MOST_AT_ONCE), fit);
  }

  /**
   * Continues a prompt. Its tokens may come in this call or in a later one.
   *
   * @param prompt at least one token
   */
  public void add(int[] prompt, Continuation to) {
    int slot = free();
    while (slot < 0) {
      step();
      slot = free();
    }
    cache.clear(slot);
    take(slot, to, 0, run(List.of(slot), List.of(prompt))[0]);
  }

  /** Runs all continuations to their ends. */
  public void finish() {
    while (!running().isEmpty()) {
      step();
    }
  }

  private int free() {
    for (int slot = 0; slot < slots.length; slot++) {
      if (slots[slot] == null) {
        return slot;
      }
    }
    return -1;
  }

  private List<Integer> running() {
    List<Integer> running = new ArrayList<>();
    for (int slot = 0; slot < slots.length; slot++) {
      if (slots[slot] != null) {
        running.add(slot);
      }
    }
    return running;
  }

  /** Gives each continuation that is running its next token. */
  private void step() {
    List<Integer> running = running();
    List<int[]> tokens = new ArrayList<>();
    List<Running> before = new ArrayList<>();
    for (int slot : running) {
      Running one = slots[slot];
      if (one != null) {
        before.add(one);
        tokens.add(new int[] {one.token});
      }
    }
    int[] next = run(running, tokens);
    for (int i = 0; i < before.size(); i++) {
      take(running.get(i), before.get(i).to, before.get(i).count, next[i]);
    }
  }

  /** Gives a slot its next token, and ends what has its last token. */
  private void take(int slot, Continuation to, int count, int token) {
    boolean more = !stopTokens.contains(token) && to.add(token) && count + 1 < maxTokens;
    slots[slot] = more ? new Running(to, token, count + 1) : null;
    if (!more) {
      to.end();
    }
  }

  /**
   * Runs the next tokens of some slots, one each or those of one slot, and chooses the token behind
   * them of each slot.
   */
  private int[] run(List<Integer> where, List<int[]> tokens) {
    try (TokenBatch batch = model.batch(cache.next(where, tokens))) {
      int rows = batch.sequences().size();
      Tensor x = states.slice(0, rows);
      model.embed(batch, x);
      for (int index = 0; index < model.depth(); index++) {
        model.layer(index, x, batch, work, cache);
      }
      for (int i = 0; i < where.size(); i++) {
        cache.advance(where.get(i), tokens.get(i).length);
      }
      Tensor last = states.slice(rows - where.size(), rows);
      model.finalNorm(last, last);
      Tensor behind = logits.slice(0, where.size());
      model.logits(last, behind);
      model.release();
      for (int i = 0; i < where.size(); i++) {
        model.backend().download(behind.slice(i, i + 1), hostLogits.get(i));
      }
    }
    return sampler.choose(hostLogits.subList(0, where.size()));
  }

  @Override
  public void close() {
    work.close();
    cache.close();
    arena.close();
  }
}
