package dev.laco.backend.cuda;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Weights on the device. Each goes up when it is first asked for, on a stream of its own, and
 * stays: while it is copied, the device computes with those before it.
 */
final class Weights {
  private final CudaContext context;
  private final Staging staging;
  private final CudaStream compute;
  private final CudaStream copies;
  private final CudaEvent arrived;
  private final Map<Source, CudaTensor> tensors = new HashMap<>();

  Weights(CudaContext context, Staging staging, CudaStream compute) {
    this.context = context;
    this.staging = staging;
    this.compute = compute;
    this.copies = new CudaStream(context);
    this.arrived = new CudaEvent(context);
  }

  /** The tensor on the device, usable by ops that follow. */
  CudaTensor get(HostTensor tensor) {
    MemorySegment data = tensor.data();
    Source source =
        new Source(data.scope(), data.address(), data.byteSize(), tensor.dtype(), tensor.shape());
    CudaTensor known = tensors.get(source);
    if (known == null) {
      known = upload(tensor);
      tensors.put(source, known);
    }
    return known;
  }

  private CudaTensor upload(HostTensor tensor) {
    List<Long> shape = tensor.shape();
    if (shape.isEmpty() || shape.size() > 2) {
      throw new IllegalArgumentException(
          "tensor " + tensor.name() + " has shape " + shape + ", not one or two extents");
    }
    DeviceBuffer buffer = new DeviceBuffer(context, tensor.data().byteSize(), tensor.name());
    long rows = shape.size() == 1 ? 1 : shape.getFirst();
    staging.upload(tensor.data(), buffer.address(), copies);
    arrived.record(copies);
    compute.await(arrived);
    return new CudaTensor(tensor.dtype(), rows, shape.getLast(), buffer, 0);
  }

  /**
   * Which host memory a tensor came from.
   *
   * @param scope its lifetime, since another may come to lie at the same address later
   */
  private record Source(
      MemorySegment.Scope scope, long address, long bytes, DType dtype, List<Long> shape) {}
}
