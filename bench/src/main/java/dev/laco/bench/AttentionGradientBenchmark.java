package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import org.openjdk.jmh.annotations.Benchmark;

/** {@code attentionGradient} of packed sequences. */
public class AttentionGradientBenchmark extends AttentionCase {
  private MemoryTensor out;
  private MemoryTensor logSums;
  private MemoryTensor gradient;
  private MemoryTensor byQuery;
  private MemoryTensor byKey;
  private MemoryTensor byValue;

  @Override
  void prepare() {
    out = arena.allocate(DType.F32, query.rows(), query.columns());
    logSums = arena.allocate(DType.F32, query.rows(), spec.numHeads());
    gradient = Values.random(arena, DType.F32, query.rows(), query.columns(), 1, 4);
    byQuery = arena.allocate(DType.F32, query.rows(), query.columns());
    byKey = arena.allocate(DType.F32, key.rows(), key.columns());
    byValue = arena.allocate(DType.F32, key.rows(), key.columns());
    backend.training().attention(query, key, value, null, spec, batch, out, logSums);
    attentionGradient();
    verify(0);
    verify(spec.numKeyValueHeads() - 1);
    // Scores, the gradients of softmax weights, and the three results.
    work(4.0 * query.data().byteSize() + 4.0 * key.data().byteSize(), pairs * 10 * spec.headDim());
  }

  /** How far the largest element may be off: by the rounding of sums, or of all six factors. */
  private double tolerance() {
    return type() == DType.F32 ? 1e-5 : 1.2e-2;
  }

  /** One head of keys and values with the heads that share it, as an attention of its own. */
  private void verify(int keyHead) {
    int width = spec.headDim();
    int group = spec.numHeads() / spec.numKeyValueHeads();
    int head = keyHead * group;
    MemoryTensor expectedByQuery = arena.allocate(DType.F32, query.rows(), (long) group * width);
    MemoryTensor expectedByKey = arena.allocate(DType.F32, key.rows(), width);
    MemoryTensor expectedByValue = arena.allocate(DType.F32, key.rows(), width);
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      reference
          .training()
          .attentionGradient(
              heads(query, head, group, width),
              heads(key, keyHead, 1, width),
              heads(value, keyHead, 1, width),
              spec(group, 1, width),
              batch,
              heads(out, head, group, width),
              heads(logSums, head, group, 1),
              heads(gradient, head, group, width),
              expectedByQuery,
              expectedByKey,
              expectedByValue);
    }
    requireClose("queries", heads(byQuery, head, group, width), expectedByQuery);
    requireClose("keys", heads(byKey, keyHead, 1, width), expectedByKey);
    requireClose("values", heads(byValue, keyHead, 1, width), expectedByValue);
  }

  private void requireClose(String by, MemoryTensor actual, MemoryTensor expected) {
    Values.requireClose("gradients by " + by, actual, expected, tolerance());
  }

  @Benchmark
  public void attentionGradient() {
    backend
        .training()
        .attentionGradient(
            query, key, value, spec, batch, out, logSums, gradient, byQuery, byKey, byValue);
  }
}
