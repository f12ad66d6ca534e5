package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import org.openjdk.jmh.annotations.Benchmark;

/** {@code attention} of packed sequences. */
public class AttentionBenchmark extends AttentionCase {
  private MemoryTensor out;

  @Override
  void prepare() {
    out = arena.allocate(DType.F32, query.rows(), query.columns());
    attention();
    verify(0);
    verify(spec.numHeads() - 1);
    // Scores and weighted values.
    work(2.0 * query.data().byteSize() + 2.0 * key.data().byteSize(), pairs * 4 * spec.headDim());
  }

  /** How far the largest element may be off: by the rounding of sums, or of all four factors. */
  private double tolerance() {
    return type() == DType.F32 ? 1e-5 : 6e-3;
  }

  /** One head, as an attention of its own. */
  private void verify(int head) {
    int width = spec.headDim();
    int keyHead = head / (spec.numHeads() / spec.numKeyValueHeads());
    MemoryTensor expected = arena.allocate(DType.F32, query.rows(), width);
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      reference.attention(
          heads(query, head, 1, width),
          heads(key, keyHead, 1, width),
          heads(value, keyHead, 1, width),
          null,
          spec(1, 1, width),
          batch,
          expected);
    }
    Values.requireClose("head " + head, heads(out, head, 1, width), expected, tolerance());
  }

  @Benchmark
  public void attention() {
    backend.attention(query, key, value, null, spec, batch, out);
  }
}
