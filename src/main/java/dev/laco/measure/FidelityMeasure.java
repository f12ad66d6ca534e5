package dev.laco.measure;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.List;

/** Measures how close the outputs of a pruned model are to those of the original. */
public final class FidelityMeasure {
  private FidelityMeasure() {}

  /**
   * Runs both models over chunks; divergence and perplexity are of each chunk's tokens from its
   * first scored one on.
   *
   * @throws dev.laco.BadInputException if there is no token to score
   */
  public static Fidelity measure(
      CausalLm original, CausalLm pruned, List<Chunk> chunks, Progress progress) {
    Backend backend = original.backend();
    long total = chunks.stream().mapToLong(Chunk::length).sum();
    long done = 0;
    double similarity = 0;
    double divergence = 0;
    double nll = 0;
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
          divergence +=
              ChunkBatches.sumScored(together, NextTokens.kl(original, expected, found, batch));
          nll += ChunkBatches.sumScored(together, NextTokens.nll(pruned, found, batch));
          pruned.release();
          done += batch.sequences().size();
        }
        progress.update(done, total);
      }
    }
    Perplexity perplexity = PerplexityMeasure.of(chunks, nll);
    return new Fidelity(similarity / chunks.size(), divergence / perplexity.tokens(), perplexity);
  }

  /** Bytes of buffers that {@link #measure} needs for these chunks. */
  public static long bytes(ModelConfig config, List<Chunk> chunks) {
    return PerplexityMeasure.bytes(config, chunks)
        + (long) ChunkBatches.maxTokens(chunks) * config.hiddenSize() * DType.F32.byteSize();
  }
}
