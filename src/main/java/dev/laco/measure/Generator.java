package dev.laco.measure;

import static java.util.Comparator.naturalOrder;

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
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Continues prompts token by token, several at a time, with a KV cache. A step gives one token to
 * every continuation that is running, so that the weights are read once for all of them; prompts
 * are read in the same steps. When a continuation ends, the next prompt takes its place. Where a
 * text grows to a length at which its first tokens rotate otherwise, it is read again as a whole.
 */
public final class Generator implements AutoCloseable {
  /** The most continuations that run at a time. */
  public static final int MOST_AT_ONCE = 256;

  /** Continuations at a time that keep a processor busy. */
  private static final int BUSY = 64;

  /** The most bytes of a KV cache of so many, if keys and values were f32. */
  private static final long CACHE_BYTES = 1L << 30;

  private final CausalLm model;
  private final Sampler sampler;
  private final Set<Integer> stopTokens;
  private final int maxTokens;
  private final Set<Integer> anewAt;
  private final TensorArena arena;
  private final KeyValueCache cache;
  private final Workspace work;
  private final Tensor states;
  private final Tensor lastStates;
  private final Tensor logits;
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

  /**
   * A continuation in a slot of the cache.
   *
   * @param unread the tokens that the model has not read: the prompt, then the last token given
   * @param count of tokens that it was given
   * @param text its prompt, and the tokens that it was given
   * @param known the tokens in {@code text}
   */
  private record Running(
      Continuation to, int[] unread, int count, List<Integer> text, BitSet known) {
    static Running of(Continuation to, int[] prompt) {
      BitSet known = new BitSet();
      Arrays.stream(prompt).forEach(known::set);
      List<Integer> text = Arrays.stream(prompt).boxed().collect(Collectors.toList());
      return new Running(to, prompt, 0, text, known);
    }

    /** The same with one more token, which is read next; {@code anew}: with all before it. */
    Running then(int token, boolean anew) {
      text.add(token);
      known.set(token);
      List<Integer> next = anew ? text : List.of(token);
      return new Running(
          to, next.stream().mapToInt(Integer::intValue).toArray(), count + 1, text, known);
    }
  }

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
    this.anewAt = config.rotatedAnew();
    int capacity = Math.addExact(longest, maxTokens);
    int count = atOnce(model.backend(), config, prompts, capacity);
    int rows = rows(config, longest, capacity, count);
    this.slots = new Running[count];
    this.arena = model.backend().arena();
    this.cache = new KeyValueCache(model.backend(), config, model.depth(), count, capacity);
    this.work = new Workspace(model.backend(), config, rows);
    this.states = arena.allocate(DType.F32, rows, config.hiddenSize());
    this.lastStates = arena.allocate(DType.F32, count, config.hiddenSize());
    this.logits = arena.allocate(DType.F32, count, config.vocabSize());
  }

  /**
   * Bytes of the buffers of a generation.
   *
   * @param weights the dtype of the model's matrices
   */
  public static long bytes(
      Device device, ModelConfig config, DType weights, long prompts, int longest, int maxTokens) {
    int capacity = Math.addExact(longest, maxTokens);
    int count = atOnce(device, config, prompts, capacity);
    long rows = rows(config, longest, capacity, count);
    DType type = KeyValueCache.type(device, config, weights);
    return count * KeyValueCache.slotBytes(config, type, capacity)
        + Workspace.bytes(config, rows)
        + ((rows + count) * config.hiddenSize() + (long) count * config.vocabSize())
            * DType.F32.byteSize();
  }

  /** The most tokens of a step: those of one text, and one of each other continuation. */
  private static int rows(ModelConfig config, int longest, int capacity, int count) {
    int anew =
        config.rotatedAnew().stream().filter(n -> n < capacity).max(naturalOrder()).orElse(0);
    return Math.addExact(Math.max(longest, anew), count - 1);
  }

  /**
   * How many continuations run at a time: more where a device has the memory, and reads weights for
   * many tokens in the time in which it reads them for one.
   *
   * @param capacity tokens of the longest prompt and its continuation
   */
  public static int atOnce(Device device, ModelConfig config, long prompts, int capacity) {
    long fit = Math.max(1, CACHE_BYTES / KeyValueCache.slotBytes(config, DType.F32, capacity));
    DType type = KeyValueCache.type(device, config, DType.BF16);
    long each =
        KeyValueCache.slotBytes(config, type, capacity)
            + Workspace.bytes(config, 1)
            + (long) config.vocabSize() * DType.F32.byteSize();
    int most = device.batchTokens((int) Math.min(fit, BUSY), each);
    return (int) Math.min(prompts, Math.min(most, MOST_AT_ONCE));
  }

  /**
   * Continues a prompt. Its tokens come in later steps; where all continuations that can run at a
   * time are running, this call takes steps until one of them ends.
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
    slots[slot] = Running.of(to, prompt.clone());
  }

  /** Runs all continuations to their ends. */
  public void finish() {
    while (Arrays.stream(slots).anyMatch(Objects::nonNull)) {
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

  /**
   * Gives each continuation that is running its next token; of prompts that were not read, those
   * wait for a later step that have no room in this one.
   */
  public void step() {
    List<Integer> where = new ArrayList<>();
    List<Running> running = new ArrayList<>();
    long room = states.rows() - ones();
    for (int slot = 0; slot < slots.length; slot++) {
      Running one = slots[slot];
      if (one != null && (one.unread.length == 1 || one.unread.length <= room)) {
        room -= one.unread.length == 1 ? 0 : one.unread.length;
        where.add(slot);
        running.add(one);
      }
    }
    int[] next = run(where, running);
    for (int i = 0; i < next.length; i++) {
      take(where.get(i), running.get(i), next[i]);
    }
  }

  /** The continuations that read one token. */
  private long ones() {
    return Arrays.stream(slots).filter(one -> one != null && one.unread.length == 1).count();
  }

  /** Gives a slot its next token, and ends what has its last token. */
  private void take(int slot, Running one, int token) {
    boolean more = !stopTokens.contains(token) && one.to.add(token) && one.count + 1 < maxTokens;
    if (!more) {
      slots[slot] = null;
      one.to.end();
      return;
    }
    boolean anew = anewAt.contains(one.text.size() + 1);
    if (anew) {
      cache.clear(slot);
    }
    slots[slot] = one.then(token, anew);
  }

  /** Runs the next tokens of some slots, and chooses the token behind them of each slot. */
  private int[] run(List<Integer> where, List<Running> running) {
    List<int[]> tokens = running.stream().map(Running::unread).toList();
    Tensor last = lastStates.slice(0, where.size());
    Tensor behind = logits.slice(0, where.size());
    try (TokenBatch batch = model.batch(cache.next(where, tokens))) {
      Tensor x = states.slice(0, batch.sequences().size());
      model.embed(batch, x);
      for (int index = 0; index < model.depth(); index++) {
        model.layer(index, x, batch, work, cache);
      }
      for (int i = 0; i < where.size(); i++) {
        cache.advance(where.get(i), tokens.get(i).length);
      }
      model.lastOfEach(batch, x, last);
      model.finalNorm(last, last);
      model.logits(last, behind);
      model.release();
    }
    return sampler.choose(model.backend(), behind, running.stream().map(Running::known).toList());
  }

  @Override
  public void close() {
    work.close();
    cache.close();
    arena.close();
  }
}
