package dev.laco.bench.gpu;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/** Made-up data on a device. */
final class Lab implements AutoCloseable {
  private final BenchDevice device;
  private final TensorArena arena;
  private final boolean guarded;
  private final List<Guarded> tensors = new ArrayList<>();

  /**
   * A tensor and what it was cut from.
   *
   * @param whole with a row before and one behind where guarded
   * @param filling gives it the values that it begins with
   */
  record Guarded(Tensor part, Tensor whole, Launch filling) {}

  /**
   * Makes data.
   *
   * @param guarded between rows that must not change, so that rows lie at odd addresses too
   */
  Lab(BenchDevice device, boolean guarded) {
    this.device = device;
    this.arena = device.arena();
    this.guarded = guarded;
  }

  BenchDevice device() {
    return device;
  }

  /** Every tensor so far. */
  List<Guarded> tensors() {
    return tensors;
  }

  /** Uniform values in {@code (-scale, scale)}; results begin so, too. */
  Tensor random(DType dtype, long rows, long columns, double scale) {
    Tensor whole = arena.allocate(dtype, guarded ? rows + 2 : rows, columns);
    Launch filling = device.filling(whole, scale, tensors.size());
    filling.run();
    Tensor part = guarded ? whole.slice(1, rows + 1) : whole;
    tensors.add(new Guarded(part, whole, filling));
    return part;
  }

  /** Several of {@link #random}. */
  List<Tensor> random(int count, DType dtype, long rows, long columns, double scale) {
    return IntStream.range(0, count).mapToObj(i -> random(dtype, rows, columns, scale)).toList();
  }

  /** The address of room for results that are no tensors, zeroed. */
  long room(long bytes) {
    return BenchDevice.address(arena.allocate(DType.F32, 1, Math.ceilDiv(bytes, 4)));
  }

  /** The address of a table. */
  long table(MemorySegment values) {
    long address = room(values.byteSize());
    device.upload(values, address);
    return address;
  }

  long table(int... values) {
    return table(MemorySegment.ofArray(values));
  }

  long table(double... values) {
    return table(MemorySegment.ofArray(values));
  }

  /** The address of a table of addresses. */
  long pointers(List<Tensor> to) {
    return table(MemorySegment.ofArray(to.stream().mapToLong(BenchDevice::address).toArray()));
  }

  /** Copies a tensor to host memory. */
  void download(Tensor tensor, MemoryTensor to) {
    device.download(BenchDevice.address(tensor), to.data());
  }

  @Override
  public void close() {
    device.synchronize();
    arena.close();
  }
}
