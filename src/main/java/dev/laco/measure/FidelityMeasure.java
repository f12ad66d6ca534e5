package dev.laco.measure;

import dev.laco.backend.Backend;
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
import java.util.List;
import java.util.stream.DoubleStream;

/** Measures how close the outputs of a pruned model are to those of the original. */
public final class FidelityMeasure {
  /** Groups of positions of the divergence by position, at most. */
  private static final int GROUPS = 32;

  private FidelityMeasure() {}

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
   * Runs both models over chunks; divergence and perplexity are of each chunk's tokens from its
   * first scored one on.
   *
   * @throws dev.laco.BadInputException if there is no token to score
   */
  public static Fidelity measure(
      CausalLm original, CausalLm pruned, List<Chunk> chunks, Progress progress) {
    return run(original, pruned, chunks, progress, false).pruned;
  }

  /**
   * As {@link #measure}, and the perplexity of the original in the same pass.
   *
   * @throws dev.laco.BadInputException if there is no token to score
   */
  public static Both both(
      CausalLm original, CausalLm pruned, List<Chunk> chunks, Progress progress) {
    return run(original, pruned, chunks, progress, true);
  }

  private static Both run(
      CausalLm original,
      CausalLm pruned,
      List<Chunk> chunks,
      Progress progress,
      boolean scoresOriginal) {
    Backend backend = original.backend();
    long total = chunks.stream().mapToLong(Chunk::length).sum();
    long done = 0;
    double similarity = 0;
    double originalNll = 0;
    double nll = 0;
    int longest = chunks.stream().mapToInt(Chunk::length).max().orElse(1);
    int width = Math.ceilDiv(longest, GROUPS);
    double[] divergence = new double[GROUPS];
    long[] tokens = new long[GROUPS];
    int largest = ChunkBatches.maxTokens(chunks);
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, original.config(), largest)) {
      Tensor reference = arena.allocate(DType.F32, largest, original.config().hiddenSize());
      Tensor states = arena.allocate(DType.F32, largest, original.config().hiddenSize());
      for (List<Chunk> together : ChunkBatches.of(chunks)) {
        try (TokenBatch batch = ChunkBatches.packed(original, together)) {
          Tensor expected = reference.slice(0, batch.sequences().size());
          Tensor found = states.slice(0, batch.sequences().size());
          original.run(batch, expected, work);
          pruned.run(batch, found, work);
          for (double cosine : backend.cosine(expected, found, batch)) {
            similarity += cosine;
          }
          add(together, NextTokens.kl(original, expected, found, batch), width, divergence, tokens);
          if (scoresOriginal) {
            originalNll +=
                ChunkBatches.sumScored(together, NextTokens.nll(original, expected, batch));
          }
          nll += ChunkBatches.sumScored(together, NextTokens.nll(pruned, found, batch));
          pruned.release();
          done += batch.sequences().size();
        }
        progress.update(done, total);
      }
    }
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
        PerplexityMeasure.of(chunks, originalNll),
        new Fidelity(
            similarity / chunks.size(),
            DoubleStream.of(divergence).sum() / perplexity.tokens(),
            perplexity),
        byPosition);
  }

  /** Adds the values of the scored tokens of a batch to the groups of their positions. */
  private static void add(
      List<Chunk> together, double[] byRow, int width, double[] sums, long[] counts) {
    int start = 0;
    for (Chunk chunk : together) {
      for (int i = chunk.firstScored(); i < chunk.length(); i++) {
        int group = (i - 1) / width;
        sums[group] += byRow[start + i - 1];
        counts[group]++;
      }
      start += chunk.length();
    }
  }

  /** Bytes of buffers that {@link #measure} needs for these chunks. */
  public static long bytes(ModelConfig config, List<Chunk> chunks) {
    return PerplexityMeasure.bytes(config, chunks)
        + (long) ChunkBatches.maxTokens(chunks) * config.hiddenSize() * DType.F32.byteSize();
  }
}
