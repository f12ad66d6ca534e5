package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.PositionDivergence;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.DoubleStream;
import org.jspecify.annotations.Nullable;

/**
 * Measures how close the outputs of pruned models are to those of the original, on one text. The
 * original runs over the text once for each pruned model, or once for all, if its last hidden
 * states are held.
 */
public final class FidelityMeasure implements AutoCloseable {
  /** Groups of positions of the divergence by position, at most. */
  private static final int GROUPS = 32;

  /** Most bytes of hidden states that are held; of the rest of a text the original runs again. */
  private static final long MOST_HELD = 256L << 20;

  private final CausalLm original;
  private final List<Chunk> chunks;
  private final List<List<Chunk>> batches;
  private final int largest;
  private final TensorArena arena;

  /** The original's last hidden states of the first batches, {@code [T, d]}; null until it ran. */
  private final @Nullable Tensor[] held;

  /** Sums of the original's negative log-likelihood by batch, nats; NaN until it ran. */
  private final double[] nll;

  /**
   * Measures pruned models against an original.
   *
   * @param several whether several pruned models will be measured, or one again, so that the
   *     original's hidden states are worth their memory, {@link #heldBytes}
   */
  public FidelityMeasure(CausalLm original, List<Chunk> chunks, boolean several) {
    this.original = original;
    this.chunks = List.copyOf(chunks);
    batches = ChunkBatches.of(original.backend(), original.config(), chunks);
    largest = ChunkBatches.maxTokens(batches);
    arena = original.backend().arena();
    held = new Tensor[several ? heldBatches(original.config(), batches) : 0];
    nll = new double[batches.size()];
    Arrays.fill(nll, Double.NaN);
  }

  /**
   * Two models on the same chunks.
   *
   * @param original perplexity of the original
   * @param pruned how near the pruned model is to it
   * @param byPosition their divergence by the position in a chunk, ascending, at most {@value
   *     #GROUPS} groups of as many positions each; positions that no chunk has are left out
   */
  public record Both(Perplexity original, Fidelity pruned, List<PositionDivergence> byPosition) {
    public Both {
      byPosition = List.copyOf(byPosition);
    }
  }

  /**
   * The perplexity of the original on the chunks' tokens from the first scored one of each on.
   *
   * @throws dev.laco.BadInputException if there is no token to score
   */
  public Perplexity original(Progress progress) {
    return run(null, progress).original;
  }

  /**
   * Runs a pruned model over the chunks, and the original where it has not run or its hidden states
   * are not held; divergence and perplexity are of each chunk's tokens from its first scored one
   * on.
   *
   * @throws dev.laco.BadInputException if there is no token to score
   */
  public Both measure(CausalLm pruned, Progress progress) {
    return run(pruned, progress);
  }

  private Both run(@Nullable CausalLm pruned, Progress progress) {
    long total = chunks.stream().mapToLong(Chunk::length).sum();
    long done = 0;
    Sums sums = new Sums(chunks);
    try (TensorArena scratch = original.backend().arena();
        Workspace work = new Workspace(original.backend(), original.config(), largest)) {
      long width = original.config().hiddenSize();
      Tensor reference = scratch.allocate(DType.F32, largest, width);
      Tensor states = scratch.allocate(DType.F32, largest, width);
      for (int i = 0; i < batches.size(); i++) {
        List<Chunk> together = batches.get(i);
        try (TokenBatch batch = ChunkBatches.packed(original, together)) {
          Tensor expected = expected(i, batch, reference, work);
          if (pruned != null) {
            Tensor found = states.slice(0, batch.sequences().size());
            pruned.run(batch, found, work);
            sums.add(together, expected, found, original, pruned, batch);
            pruned.release();
          }
          done += batch.sequences().size();
        }
        progress.update(done, total);
      }
    }
    return sums.of(PerplexityMeasure.of(chunks, Arrays.stream(nll).sum()));
  }

  /** The original's last hidden states of a batch, {@code [T, d]}. */
  private Tensor expected(int index, TokenBatch batch, Tensor scratch, Workspace work) {
    boolean holds = index < held.length;
    Tensor known = holds ? held[index] : null;
    if (known != null) {
      return known;
    }
    long tokens = batch.sequences().size();
    Tensor states =
        holds
            ? arena.allocate(DType.F32, tokens, original.config().hiddenSize())
            : scratch.slice(0, tokens);
    original.run(batch, states, work);
    if (Double.isNaN(nll[index])) {
      nll[index] =
          ChunkBatches.sumScored(batches.get(index), NextTokens.nll(original, states, batch));
    }
    if (holds) {
      held[index] = states;
    }
    return states;
  }

  /** What was measured of a pruned model so far. */
  private static final class Sums {
    private final List<Chunk> chunks;
    private final int longest;

    /** Positions of a group. */
    private final int width;

    private final double[] divergence = new double[GROUPS];
    private final long[] tokens = new long[GROUPS];
    private double similarity;
    private double nll;

    Sums(List<Chunk> chunks) {
      this.chunks = chunks;
      longest = chunks.stream().mapToInt(Chunk::length).max().orElse(1);
      width = Math.ceilDiv(longest, GROUPS);
    }

    /** Adds a batch, from the last hidden states of both models. */
    void add(
        List<Chunk> together,
        Tensor expected,
        Tensor found,
        CausalLm original,
        CausalLm pruned,
        TokenBatch batch) {
      for (double cosine : original.backend().cosine(expected, found, batch)) {
        similarity += cosine;
      }
      double[] kl = NextTokens.kl(original, expected, found, batch);
      ChunkBatches.forEachScored(
          together,
          (chunk, position, row) -> {
            int group = (position - 1) / width;
            divergence[group] += kl[row];
            tokens[group]++;
          });
      nll += ChunkBatches.sumScored(together, NextTokens.nll(pruned, found, batch));
    }

    Both of(Perplexity dense) {
      Perplexity perplexity = PerplexityMeasure.of(chunks, nll);
      List<PositionDivergence> byPosition = new ArrayList<>();
      for (int group = 0; group < GROUPS; group++) {
        if (tokens[group] > 0) {
          byPosition.add(
              new PositionDivergence(
                  group * width,
                  Math.min((group + 1) * width, longest - 1) - 1,
                  tokens[group],
                  divergence[group] / tokens[group]));
        }
      }
      return new Both(
          dense,
          new Fidelity(
              similarity / chunks.size(),
              DoubleStream.of(divergence).sum() / perplexity.tokens(),
              perplexity),
          byPosition);
    }
  }

  /** Bytes of buffers while a model is measured on these chunks. */
  public static long bytes(Device device, ModelConfig config, List<Chunk> chunks) {
    int tokens = ChunkBatches.maxTokens(ChunkBatches.of(device, config, chunks));
    return PerplexityMeasure.bytes(device, config, chunks) + bytes(config, tokens);
  }

  /** Bytes of hidden states that are held between the measurements of several models. */
  public static long heldBytes(Device device, ModelConfig config, List<Chunk> chunks) {
    List<List<Chunk>> batches = ChunkBatches.of(device, config, chunks);
    return batches.stream()
        .limit(heldBatches(config, batches))
        .mapToLong(batch -> bytes(config, ChunkBatches.tokens(batch)))
        .sum();
  }

  private static long bytes(ModelConfig config, long tokens) {
    return tokens * config.hiddenSize() * DType.F32.byteSize();
  }

  /** The number of batches whose hidden states may be held. */
  private static int heldBatches(ModelConfig config, List<List<Chunk>> batches) {
    long bytes = 0;
    int count = 0;
    for (List<Chunk> batch : batches) {
      bytes += bytes(config, ChunkBatches.tokens(batch));
      if (bytes > MOST_HELD) {
        break;
      }
      count++;
    }
    return count;
  }

  /** Frees what is held. */
  @Override
  public void close() {
    arena.close();
  }
}
