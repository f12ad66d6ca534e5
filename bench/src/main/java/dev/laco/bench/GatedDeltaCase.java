package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import java.util.Collections;
import java.util.List;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Linear attention by the gated delta rule, with the heads of Qwen3-Next, over whole sequences. */
public abstract class GatedDeltaCase extends Case {
  /**
   * Number of sequences and tokens of each: a calibration set, chunks of a fit, and the longest one
   * whose states the reference holds at once.
   */
  @Param({"10x39", "4x256", "1x512"})
  public String sequences;

  final DeltaSpec spec = new DeltaSpec(16, 32, 128, 128);
  Backend backend;
  TokenBatch batch;
  MemoryTensor heads;
  MemoryTensor decay;
  MemoryTensor rate;
  MemoryTensor logDecay;
  MemoryTensor decayBias;
  MemoryTensor out;
  MemoryTensor errors;

  @Setup(Level.Trial)
  public final void prepareSequences() {
    backend = open(Compute.F32);
    List<String> extents = List.of(sequences.split("x"));
    int count = Integer.parseInt(extents.getFirst());
    int length = Integer.parseInt(extents.getLast());
    PackedSequences packed = PackedSequences.of(Collections.nCopies(count, new int[length]));
    batch = backend.batch(packed, 1, new float[0], new float[0]);
    heads = random(packed.size(), spec.all(), 1);
    decay = random(packed.size(), spec.valueHeads(), 2);
    rate = random(packed.size(), spec.valueHeads(), 3);
    logDecay = random(1, spec.valueHeads(), 4);
    decayBias = random(1, spec.valueHeads(), 5);
    out = zeros(spec.values());
    errors = zeros(spec.values());
    ceilings().largeProduct(DType.F32);
    prepare();
  }

  /**
   * Makes the other tensors, runs the op, compares its results and says what an invocation does.
   */
  abstract void prepare();

  MemoryTensor random(long rows, long columns, long seed) {
    return Values.random(arena, DType.F32, rows, columns, 1, seed);
  }

  /** A row for each token. */
  MemoryTensor zeros(long columns) {
    return arena.allocate(DType.F32, heads.rows(), columns);
  }

  /** The op over these sequences, which also writes the errors. */
  void attend(Backend on, MemoryTensor to, MemoryTensor errorsTo) {
    on.training().gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, to, errorsTo);
  }

  static void requireClose(String what, MemoryTensor actual, MemoryTensor expected) {
    Values.requireClose(what, actual, expected, 5e-6);
  }

  /** Bytes of what each token has. */
  static double bytes(MemoryTensor... tensors) {
    double bytes = 0;
    for (MemoryTensor tensor : tensors) {
      bytes += tensor.data().byteSize();
    }
    return bytes;
  }

  @TearDown(Level.Trial)
  public void closeBatch() {
    batch.close();
  }
}
