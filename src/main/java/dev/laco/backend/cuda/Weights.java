package dev.laco.backend.cuda;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Weights on the device. Each goes up when it is first asked for, on a stream of its own: while it
 * is copied, the device computes with those before it. It stays until it is released; then the next
 * one of its size takes its buffer, as soon as the device has done all that may still read it.
 */
final class Weights {
  private final CudaContext context;
  private final Staging staging;
  private final CudaStream compute;
  private final CudaStream copies;
  private final CudaEvent arrived;
  private final Map<Source, CudaTensor> tensors = new HashMap<>();

  /** Buffers that can be written behind {@link #vacated}, by their size. */
  private final Map<Long, Deque<DeviceBuffer>> vacant = new HashMap<>();

  private final CudaEvent vacated;

  Weights(CudaContext context, Staging staging, CudaStream compute) {
    this.context = context;
    this.staging = staging;
    this.compute = compute;
    this.copies = new CudaStream(context);
    this.arrived = new CudaEvent(context);
    this.vacated = new CudaEvent(context);
  }

  /** The tensor on the device, usable by ops that follow. */
  CudaTensor get(HostTensor tensor) {
    Source source = Source.of(tensor);
    CudaTensor known = tensors.get(source);
    if (known == null) {
      known = upload(tensor);
      tensors.put(source, known);
    }
    return known;
  }

  /** Lets the tensor's room go; tensors that were given out for it become unusable. */
  void release(HostTensor tensor) {
    CudaTensor known = tensors.remove(Source.of(tensor));
    if (known != null) {
      vacant
          .computeIfAbsent(known.memory().bytes(), size -> new ArrayDeque<>())
          .add(known.memory().handOver());
      vacated.record(compute);
    }
  }

  private CudaTensor upload(HostTensor tensor) {
    List<Long> shape = tensor.shape();
    if (shape.isEmpty() || shape.size() > 2) {
      throw new IllegalArgumentException(
          "tensor " + tensor.name() + " has shape " + shape + ", not one or two extents");
    }
    DeviceBuffer buffer = buffer(tensor.data().byteSize(), tensor.name());
    long rows = shape.size() == 1 ? 1 : shape.getFirst();
    staging.upload(tensor.data(), buffer.address(), copies);
    arrived.record(copies);
    compute.await(arrived);
    return new CudaTensor(tensor.dtype(), rows, shape.getLast(), buffer, 0);
  }

  private DeviceBuffer buffer(long bytes, String purpose) {
    Deque<DeviceBuffer> same = vacant.getOrDefault(bytes, new ArrayDeque<>());
    if (!same.isEmpty()) {
      copies.await(vacated);
      return same.remove();
    }
    // A layer finds the buffers of the one that went for it. Where it does not, sizes changed, and
    // what is vacant would only be in the way.
    vacant.values().forEach(buffers -> buffers.forEach(DeviceBuffer::close));
    vacant.clear();
    return new DeviceBuffer(context, bytes, purpose);
  }

  /**
   * Which host memory a tensor came from.
   *
   * @param scope its lifetime, since another may come to lie at the same address later
   */
  private record Source(
      MemorySegment.Scope scope, long address, long bytes, DType dtype, List<Long> shape) {
    static Source of(HostTensor tensor) {
      MemorySegment data = tensor.data();
      return new Source(
          data.scope(), data.address(), data.byteSize(), tensor.dtype(), tensor.shape());
    }
  }
}
