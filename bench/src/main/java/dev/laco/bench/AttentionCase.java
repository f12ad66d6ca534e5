package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.List;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Queries, keys and values of packed sequences. */
public abstract class AttentionCase extends Case {
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

  Backend backend;
  TokenBatch batch;
  AttentionSpec spec;
  MemoryTensor query;
  MemoryTensor key;
  MemoryTensor value;

  /** How often a query and a head meet a key that the query sees. */
  double pairs;

  @Setup(Level.Trial)
  public final void prepareSequences() {
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
    pairs = count * (length * (length + 1.0) / 2) * spec.numHeads();
    ceilings().largeProduct(type());
    prepare();
  }

  /**
   * Makes the other tensors, runs the op, compares its results and says what an invocation does.
   */
  abstract void prepare();

  DType type() {
    return products.equals("f32") ? DType.F32 : DType.BF16;
  }

  AttentionSpec spec(int heads, int keyValueHeads, int headDim) {
    return new AttentionSpec(
        heads, keyValueHeads, headDim, 0, new LogitSpec(1 / Math.sqrt(headDim), 0), type());
  }

  /** The columns of {@code count} heads from {@code first} on, each {@code width} numbers wide. */
  MemoryTensor heads(MemoryTensor all, int first, int count, int width) {
    MemoryTensor some = arena.allocate(DType.F32, all.rows(), (long) count * width);
    long bytes = (long) width * Float.BYTES;
    for (long row = 0; row < all.rows(); row++) {
      long from = row * all.columns() * Float.BYTES + first * bytes;
      MemorySegment.copy(all.data(), from, some.data(), row * count * bytes, count * bytes);
    }
    return some;
  }

  @TearDown(Level.Trial)
  public void closeBatch() {
    batch.close();
  }
}
