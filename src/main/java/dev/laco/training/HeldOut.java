package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * The text that is held out, as the original sees it: its last hidden states, and the hidden states
 * in front of the first trained layer. They are computed once.
 */
final class HeldOut implements AutoCloseable {
  private final TensorArena arena;
  private final List<Batch> batches = new ArrayList<>();
  private long predicted;
  private double originalNll;

  /**
   * A part of the text that runs at once.
   *
   * @param shared hidden states in front of the first trained layer, {@code [T, d]}
   * @param reference the original's last hidden states, {@code [T, d]}
   */
  private record Batch(TokenBatch tokens, Tensor shared, Tensor reference) {}

  /** Runs the original over the text. */
  HeldOut(CausalLm original, Passes passes, List<FitText.Chunk> chunks, int batchTokens) {
    Backend backend = passes.backend();
    arena = backend.arena();
    for (List<FitText.Chunk> together : DistillationText.parts(chunks, batchTokens)) {
      PackedSequences sequences =
          PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
      TokenBatch tokens = passes.batch(sequences);
      Tensor shared = arena.allocate(DType.F32, sequences.size(), passes.width());
      Tensor reference = arena.allocate(DType.F32, sequences.size(), passes.width());
      passes.teach(tokens, shared, reference);
      batches.add(new Batch(tokens, shared, reference));
      predicted += sequences.size() - sequences.sequences();
      originalNll += Arrays.stream(NextTokens.nll(original, reference, tokens)).sum();
    }
    originalNll /= Math.max(1, predicted);
  }

  /** Mean negative log-likelihood of the text's tokens in the original, nats. */
  double originalNll() {
    return originalNll;
  }

  /** Bytes of the hidden states of a text. */
  static long bytes(List<FitText.Chunk> chunks, long width) {
    return 2 * width * Float.BYTES * chunks.stream().mapToLong(FitText.Chunk::length).sum();
  }

  /**
   * How far the trained model is from the original.
   *
   * @param divergence of the original from the trained model, nats a token
   * @param nll of the trained model, nats a token
   */
  record Distance(double divergence, double nll) {}

  /** Measures the trained model as it is now. */
  Distance measure(Passes passes, CausalLm student) {
    return measure(passes, student, batches, predicted);
  }

  /** The divergence of the original from the trained model as it is now, on the first batches. */
  double divergence(Passes passes, CausalLm student, int first) {
    List<Batch> part = batches.subList(0, Math.min(first, batches.size()));
    return measure(passes, student, part, predicted).divergence();
  }

  private static Distance measure(
      Passes passes, CausalLm student, List<Batch> batches, long predicted) {
    double divergence = 0;
    double nll = 0;
    long rows = 0;
    for (Batch batch : batches) {
      passes.backend().copy(batch.shared, passes.shared(batch.shared.rows()));
      Tensor hidden = passes.learn(batch.tokens);
      for (double row : NextTokens.kl(student, batch.reference, hidden, batch.tokens)) {
        divergence += row;
      }
      for (double row : NextTokens.nll(student, hidden, batch.tokens)) {
        nll += row;
      }
      rows += hidden.rows();
    }
    return new Distance(divergence / rows, nll / Math.max(1, predicted));
  }

  @Override
  public void close() {
    batches.forEach(batch -> batch.tokens.close());
    arena.close();
  }
}
