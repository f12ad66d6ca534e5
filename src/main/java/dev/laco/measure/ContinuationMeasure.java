package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Measures how likely a model finds continuations of contexts. Continuations are collected into
 * batches; each gets its likelihood, in the order in which they were added, when its batch has run.
 * Continuations that follow each other and differ only in their last token share one sequence of
 * the batch: a question with answers of one token is run once.
 */
public final class ContinuationMeasure implements AutoCloseable {
  private final CausalLm model;
  private final int capacity;
  private final TensorArena arena;
  private final Workspace work;
  private final Tensor states;
  private final Tensor rows;
  private final @Nullable Likeliest likeliest;

  private final List<int[]> inputs = new ArrayList<>();
  private final List<Pending> pending = new ArrayList<>();
  private int tokens;
  private int scored;

  /**
   * How likely a continuation is.
   *
   * @param logProbability sum of the natural log-probabilities of its tokens
   * @param greedy whether each of its tokens is the most likely one after the tokens before it;
   *     false where that was not asked for
   */
  public record Likelihood(double logProbability, boolean greedy) {}

  /**
   * A continuation that waits for its batch.
   *
   * @param input index of its sequence, which ends before its last token
   * @param tail its tokens, after the last token of its context
   */
  private record Pending(int input, int[] tail, Consumer<Likelihood> then) {
    int scored() {
      return tail.length - 1;
    }
  }

  /**
   * Allocates the buffers of a measurement.
   *
   * @param longest the most tokens of a context and its continuation together
   * @param greedy whether to find out which continuations are greedy, for which all logits of the
   *     scored tokens are read
   */
  public ContinuationMeasure(CausalLm model, int longest, boolean greedy) {
    this(model, longest, greedy, ChunkBatches.batchTokens(model.backend(), model.config()));
  }

  /** The same with batches of {@code batchTokens}, or of one continuation if it has more tokens. */
  ContinuationMeasure(CausalLm model, int longest, boolean greedy, int batchTokens) {
    this.model = model;
    this.capacity = Math.max(longest, batchTokens);
    this.arena = model.backend().arena();
    this.work = new Workspace(model.backend(), model.config(), capacity);
    this.states = arena.allocate(DType.F32, capacity, model.config().hiddenSize());
    this.rows = arena.allocate(DType.F32, capacity, model.config().hiddenSize());
    this.likeliest = greedy ? new Likeliest(model, arena, capacity) : null;
  }

  /** Bytes of the buffers of a measurement. */
  public static long bytes(Device device, ModelConfig config, int longest, boolean greedy) {
    long capacity = Math.max(longest, ChunkBatches.batchTokens(device, config));
    return Workspace.bytes(config, capacity)
        + 2 * capacity * config.hiddenSize() * DType.F32.byteSize()
        + (greedy ? Likeliest.bytes(config, capacity) : 0);
  }

  /**
   * Adds a continuation: the tokens of the chunk from its first scored one on.
   *
   * @param then gets the likelihood, in this call or in a later one
   */
  public void add(Chunk chunk, Consumer<Likelihood> then) {
    int[] ids = chunk.ids();
    int[] input = Arrays.copyOf(ids, ids.length - 1);
    int[] tail = Arrays.copyOfRange(ids, chunk.firstScored() - 1, ids.length);
    boolean shares = !inputs.isEmpty() && Arrays.equals(input, inputs.getLast());
    if (tokens + (shares ? 0 : input.length) > capacity || scored + tail.length > capacity) {
      flush();
      shares = false;
    }
    if (!shares) {
      inputs.add(input);
      tokens += input.length;
    }
    pending.add(new Pending(inputs.size() - 1, tail, then));
    scored += tail.length;
  }

  /** Runs the batch that is collected. */
  public void flush() {
    if (pending.isEmpty()) {
      return;
    }
    PackedSequences tails = PackedSequences.of(pending.stream().map(Pending::tail).toList());
    double[] nll;
    try (TokenBatch batch = model.batch(PackedSequences.of(inputs));
        TokenBatch targets = model.batch(tails)) {
      model.run(batch, states.slice(0, tokens), work);
      gather(batch.sequences(), tails);
      nll = NextTokens.nll(model, rows.slice(0, scored), targets);
      model.release();
    }
    int[] found = likeliest == null ? null : likeliest.of(rows.slice(0, scored));
    List<Pending> done = List.copyOf(pending);
    inputs.clear();
    pending.clear();
    tokens = 0;
    scored = 0;
    for (int i = 0; i < done.size(); i++) {
      done.get(i).then.accept(likelihood(done.get(i), tails.offsets()[i], nll, found));
    }
  }

  /**
   * Copies the states that predict scored tokens to {@code rows}, which are those of {@code tails};
   * the last row of each tail predicts nothing.
   */
  private void gather(PackedSequences sequences, PackedSequences tails) {
    for (int i = 0; i < pending.size(); i++) {
      Pending one = pending.get(i);
      int end = sequences.offsets()[one.input + 1];
      int row = tails.offsets()[i];
      model
          .backend()
          .copy(states.slice(end - one.scored(), end), rows.slice(row, row + one.scored()));
    }
  }

  private static Likelihood likelihood(Pending one, int row, double[] nll, int @Nullable [] found) {
    double sum = 0;
    boolean greedy = found != null;
    for (int i = 0; i < one.scored(); i++) {
      sum -= nll[row + i];
      greedy &= found != null && found[row + i] == one.tail[i + 1];
    }
    return new Likelihood(sum, greedy);
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
