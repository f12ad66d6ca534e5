package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** {@code attention} of packed sequences. */
public class AttentionBenchmark extends Case {
  @Param({"SmolLM2-135M", "Llama-3.2-1B", "Llama-2-7B"})
  public String model;

  /**
   * Number of sequences and tokens of each: a calibration set, chunks of a fit, and a chunk of a
   * perplexity.
   */
  @Param({"10x39", "4x256", "1x2048"})
  public String sequences;

  /** The type of the products, which a device without instructions for it replaces by f32. */
  @Param({"f32", "bf16"})
  public String products;

  private Backend backend;
  private TokenBatch batch;
  private AttentionSpec spec;
  private MemoryTensor query;
  private MemoryTensor key;
  private MemoryTensor value;
  private MemoryTensor out;

  @Setup(Level.Trial)
  public void prepare() {
    backend = open(Compute.F32);
    ModelConfig config = ModelShape.of(model);
    List<String> extents = List.of(sequences.split("x"));
    int count = Integer.parseInt(extents.getFirst());
    int length = Integer.parseInt(extents.getLast());
    PackedSequences packed = PackedSequences.of(Collections.nCopies(count, new int[length]));
    batch = backend.batch(packed, 1, new float[0], new float[0]);
    spec = spec(config.numAttentionHeads(), config.numKeyValueHeads(), config.headDim());
    long queries = (long) spec.numHeads() * spec.headDim();
    long keys = (long) spec.numKeyValueHeads() * spec.headDim();
    query = Values.random(arena, DType.F32, packed.size(), queries, 1, 1);
    key = Values.random(arena, DType.F32, packed.size(), keys, 1, 2);
    value = Values.random(arena, DType.F32, packed.size(), keys, 1, 3);
    out = arena.allocate(DType.F32, packed.size(), queries);
    backend.attention(query, key, value, null, spec, batch, out);
    verify(0);
    verify(spec.numHeads() - 1);
    // Scores and weighted values of every query with the keys that it sees.
    double pairs = count * (length * (length + 1.0) / 2);
    work(
        2.0 * query.data().byteSize() + 2.0 * key.data().byteSize(),
        pairs * spec.numHeads() * 4 * spec.headDim());
    ceilings().largeProduct(type());
  }

  private DType type() {
    return products.equals("f32") ? DType.F32 : DType.BF16;
  }

  /** How far the largest element may be off: by the rounding of sums, or of all four factors. */
  private double tolerance() {
    return type() == DType.F32 ? 1e-5 : 6e-3;
  }

  private AttentionSpec spec(int heads, int keyValueHeads, int headDim) {
    return new AttentionSpec(
        heads, keyValueHeads, headDim, 0, new LogitSpec(1 / Math.sqrt(headDim), 0), type());
  }

  /** One head, as an attention of its own. */
  private void verify(int head) {
    int keyHead = head / (spec.numHeads() / spec.numKeyValueHeads());
    MemoryTensor expected = arena.allocate(DType.F32, query.rows(), spec.headDim());
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      reference.attention(
          columns(query, head),
          columns(key, keyHead),
          columns(value, keyHead),
          null,
          spec(1, 1, spec.headDim()),
          batch,
          expected);
    }
    Values.requireClose("head " + head, columns(out, head), expected, tolerance());
  }

  private MemoryTensor columns(MemoryTensor heads, int head) {
    MemoryTensor one = arena.allocate(DType.F32, heads.rows(), spec.headDim());
    long bytes = (long) spec.headDim() * Float.BYTES;
    for (long row = 0; row < heads.rows(); row++) {
      long from = row * heads.columns() * Float.BYTES + head * bytes;
      MemorySegment.copy(heads.data(), from, one.data(), row * bytes, bytes);
    }
    return one;
  }

  @Benchmark
  public void attention() {
    backend.attention(query, key, value, null, spec, batch, out);
  }

  @TearDown(Level.Trial)
  public void closeBatch() {
    batch.close();
  }
}
