package dev.laco.measure;

import dev.laco.BadInputException;
import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.report.Perplexity;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.List;
import java.util.stream.DoubleStream;

/** Measures how well a model predicts a text. */
public final class PerplexityMeasure {
  private PerplexityMeasure() {}

  /**
   * Runs a model over chunks and scores each chunk's tokens from its first scored one on.
   *
   * @throws BadInputException if there is no token to score
   */
  public static Perplexity measure(CausalLm model, List<Chunk> chunks, Progress progress) {
    return of(chunks, DoubleStream.of(byChunk(model, chunks, progress)).sum());
  }

  /** The summed negative log-likelihood of the scored tokens of each chunk, nats. */
  public static double[] byChunk(CausalLm model, List<Chunk> chunks, Progress progress) {
    long total = chunks.stream().mapToLong(Chunk::length).sum();
    long done = 0;
    double[] nll = new double[chunks.size()];
    int measured = 0;
    List<List<Chunk>> batches = ChunkBatches.of(model.backend(), model.config(), chunks);
    int largest = ChunkBatches.maxTokens(batches);
    try (TensorArena arena = model.backend().arena();
        Workspace work = new Workspace(model.backend(), model.config(), largest)) {
      Tensor states = arena.allocate(DType.F32, largest, model.config().hiddenSize());
      for (List<Chunk> together : batches) {
        try (TokenBatch batch = ChunkBatches.packed(model, together)) {
          Tensor hidden = states.slice(0, batch.sequences().size());
          model.run(batch, hidden, work);
          double[] byRow = NextTokens.nll(model, hidden, batch);
          model.release();
          for (double sum : ChunkBatches.sumsScored(together, byRow)) {
            nll[measured++] = sum;
          }
          done += batch.sequences().size();
        }
        progress.update(done, total);
      }
    }
    return nll;
  }

  /**
   * The perplexity that a summed negative log-likelihood gives.
   *
   * @param nll sum over the scored tokens of all chunks, nats
   */
  public static Perplexity of(List<Chunk> chunks, double nll) {
    long scored = chunks.stream().mapToLong(ChunkBatches::scored).sum();
    if (scored == 0) {
      throw new BadInputException(
          "the evaluation text has no token to score: it needs at least two");
    }
    return new Perplexity(scored, nll / scored);
  }

  /** Bytes of buffers that {@link #measure} needs for these chunks. */
  public static long bytes(Device device, ModelConfig config, List<Chunk> chunks) {
    int tokens = ChunkBatches.maxTokens(ChunkBatches.of(device, config, chunks));
    return Workspace.bytes(config, tokens)
        + (long) tokens * config.hiddenSize() * DType.F32.byteSize();
  }
}
