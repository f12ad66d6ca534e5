package dev.laco.backend;

import dev.laco.Compute;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** The {@link DeviceMemory} of backends that work in the memory of this process. */
public abstract class MemoryBackend implements Backend {
  private final Compute compute;

  /** A backend that calculates as exactly as {@code compute} says. */
  protected MemoryBackend(Compute compute) {
    this.compute = compute;
  }

  @Override
  public final Compute compute() {
    return compute;
  }

  @Override
  public final Tensor weight(HostTensor tensor) {
    return MemoryTensor.of(tensor);
  }

  @Override
  public final Tensor newWeight(HostTensor tensor) {
    return weight(tensor);
  }

  @Override
  public final CompletableFuture<Void> fetch(List<HostTensor> tensors) {
    // Ops have written to the host's memory.
    return CompletableFuture.completedFuture(null);
  }

  @Override
  public final TensorArena arena() {
    return new MemoryArena();
  }

  @Override
  public final TokenBatch batch(
      PackedSequences sequences, int tables, float[] cosine, float[] sine) {
    return new MemoryBatch(sequences, tables, cosine, sine);
  }

  @Override
  public final void copy(Tensor from, Tensor to) {
    OpChecks.copy(from, to);
    if (from.dtype() == to.dtype()) {
      data(to).copyFrom(data(from));
    } else {
      narrow(MemoryTensor.of(from), MemoryTensor.of(to));
    }
  }

  /** Rounds the elements of an f32 tensor to the dtype of 16 bits of another. */
  protected void narrow(MemoryTensor from, MemoryTensor to) {
    for (long i = 0; i < from.elements(); i++) {
      to.set(i, from.get(i));
    }
  }

  @Override
  public final void quadraticForms(Tensor x, Tensor symmetric, Tensor out) {
    OpChecks.quadraticForms(x, symmetric, out);
    linear(x, symmetric, null, out);
  }

  @Override
  public final void squareOfTriangle(Tensor triangle, Tensor out) {
    OpChecks.squareOfTriangle(triangle, out);
    linear(triangle, triangle, null, out);
  }

  @Override
  public final void zero(Tensor to) {
    data(to).fill((byte) 0);
  }

  @Override
  public final void download(Tensor from, float[] to) {
    OpChecks.transfer(from, to);
    MemorySegment.copy(data(from), ValueLayout.JAVA_FLOAT_UNALIGNED, 0, to, 0, to.length);
  }

  @Override
  public final void download(Tensor from, HostTensor to) {
    OpChecks.transfer(from, to);
    to.data().copyFrom(data(from));
  }

  @Override
  public final void upload(float[] from, Tensor to) {
    OpChecks.transfer(to, from);
    MemorySegment.copy(from, 0, data(to), ValueLayout.JAVA_FLOAT_UNALIGNED, 0, from.length);
  }

  /** The bytes of a tensor of this backend. */
  protected static MemorySegment data(Tensor tensor) {
    return MemoryTensor.of(tensor).data();
  }
}
