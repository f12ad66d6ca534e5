package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import java.util.Collections;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** {@code cosine} of two sets of hidden states, sixteen sequences each. */
public class CosineBenchmark extends Case {
  private static final int SEQUENCES = 16;
  private static final double TOLERANCE = 1e-6;

  @Param({"Llama-3.2-1B", "Llama-2-7B"})
  public String model;

  /** Mebibytes of each of the two sets. */
  @Param("512")
  public int mebibytes;

  private Backend backend;
  private TokenBatch batch;
  private MemoryTensor a;
  private MemoryTensor b;

  @Setup(Level.Trial)
  public void prepare() {
    backend = open(Compute.F32);
    int width = ModelShape.of(model).hiddenSize();
    int length = (mebibytes << 20) / Float.BYTES / width / SEQUENCES;
    PackedSequences sequences = PackedSequences.of(Collections.nCopies(SEQUENCES, new int[length]));
    batch = backend.batch(sequences, 1, new float[0], new float[0]);
    a = Values.random(arena, DType.F32, sequences.size(), width, 1, 1);
    b = Values.random(arena, DType.F32, sequences.size(), width, 1, 2);
    verify();
    work(2.0 * a.data().byteSize(), 6.0 * a.elements());
    ceilings().copy().read();
  }

  private void verify() {
    try (ReferenceBackend reference = new ReferenceBackend(Compute.F32)) {
      double[] expected = reference.cosine(a, b, batch);
      double[] actual = backend.cosine(a, b, batch);
      for (int s = 0; s < SEQUENCES; s++) {
        Values.requireClose("cosine " + s, actual[s], expected[s], TOLERANCE);
      }
    }
  }

  @Benchmark
  public double[] cosine() {
    return backend.cosine(a, b, batch);
  }

  @TearDown(Level.Trial)
  public void closeBatch() {
    batch.close();
  }
}
