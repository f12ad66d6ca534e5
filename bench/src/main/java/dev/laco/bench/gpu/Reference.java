package dev.laco.bench.gpu;

import dev.laco.Compute;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.bench.gpu.Lab.Guarded;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The reference backend on copies of what a lab has on a device. */
final class Reference implements AutoCloseable {
  private final Samples samples;
  private final MemoryArena arena = new MemoryArena();
  private final ReferenceBackend backend = new ReferenceBackend(Compute.F32);
  private final Map<Tensor, MemoryTensor> wholes = new HashMap<>();
  private final Map<Tensor, MemoryTensor> parts = new HashMap<>();

  /** Copies what was chosen of every tensor as it now is. */
  Reference(Lab lab, Samples samples) {
    this.samples = samples;
    for (Guarded tensor : lab.tensors()) {
      MemoryTensor whole = samples.download(lab, tensor.whole(), arena);
      long around = (tensor.whole().rows() - tensor.part().rows()) / 2;
      wholes.put(tensor.whole(), whole);
      parts.put(tensor.part(), whole.slice(around, whole.rows() - around));
    }
  }

  /** The rows of a tensor that the copy has. */
  List<Long> rows(Tensor tensor) {
    return samples.rows(tensor);
  }

  /** The sequences, of so many, that the copies have. */
  List<Integer> sequences(int count) {
    return samples.sequences(count);
  }

  /** The sequences to which the rows of the copies belong. */
  PackedSequences packed(PackedSequences whole) {
    return samples.batchInsteadOf(whole);
  }

  ReferenceBackend backend() {
    return backend;
  }

  /** The copy of a tensor. */
  MemoryTensor of(Tensor tensor) {
    return known(parts.get(tensor));
  }

  /** The copy of what a tensor was cut from. */
  MemoryTensor ofWhole(Tensor whole) {
    return known(wholes.get(whole));
  }

  private static MemoryTensor known(@Nullable MemoryTensor copy) {
    if (copy == null) {
      throw new IllegalArgumentException("not a tensor of this lab");
    }
    return copy;
  }

  /** A batch without rotary angles. */
  TokenBatch batch(PackedSequences sequences) {
    return backend.batch(packed(sequences), 1, new float[0], new float[0]);
  }

  /** A batch with the angles that two tensors hold. */
  TokenBatch batch(PackedSequences sequences, Tensor cosine, Tensor sine) {
    return backend.batch(packed(sequences), 1, floats(of(cosine)), floats(of(sine)));
  }

  /** A tensor of zeros. */
  MemoryTensor zeros(DType dtype, long rows, long columns) {
    return MemoryTensor.of(arena.allocate(dtype, rows, columns));
  }

  /** A tensor in f32. */
  MemoryTensor widened(MemoryTensor tensor) {
    MemoryTensor wide = zeros(DType.F32, tensor.rows(), tensor.columns());
    for (long i = 0; i < tensor.elements(); i++) {
      wide.set(i, tensor.get(i));
    }
    return wide;
  }

  private static float[] floats(MemoryTensor tensor) {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = tensor.get(i);
    }
    return values;
  }

  @Override
  public void close() {
    backend.close();
    arena.close();
  }
}
