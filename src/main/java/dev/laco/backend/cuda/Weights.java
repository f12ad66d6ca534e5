package dev.laco.backend.cuda;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * Weights in device memory. A weight is copied to the device when it is first asked for, on a
 * stream for copies, so that the device computes with other weights meanwhile; a new one may be
 * made on the device instead. A weight stays until it is released. Its memory then serves for the
 * next weight of the same size, once the device has finished the work that may read the old weight.
 */
final class Weights {
  private final CudaContext context;
  private final Staging staging;
  private final WeightChecks checks;
  private final WeightDownloads downloads;
  private final CudaStream compute;
  private final CudaStream copies;
  private final CudaEvent arrived;
  private final Map<Source, CudaTensor> tensors = new HashMap<>();

  /** Who is to be told what is found in weights that are not on the device. */
  private final Map<Source, Consumer<Boolean>> unchecked = new HashMap<>();

  /** Copies of new weights to the host that may not have ended. */
  private final Map<Source, CompletableFuture<Void>> underWay = new HashMap<>();

  Weights(CudaContext context, Staging staging, WeightChecks checks, WeightDownloads downloads) {
    this.context = context;
    this.staging = staging;
    this.checks = checks;
    this.downloads = downloads;
    this.compute = context.stream();
    this.copies = new CudaStream(context);
    this.arrived = new CudaEvent(context);
  }

  /** The tensor in device memory; ops that are queued from now on may use it. */
  CudaTensor get(HostTensor tensor) {
    Source source = Source.of(tensor);
    CudaTensor known = tensors.get(source);
    if (known == null) {
      known = upload(tensor);
      tensors.put(source, known);
      Consumer<Boolean> found = unchecked.remove(source);
      if (found != null) {
        checks.begin(known, found);
      }
    }
    return known;
  }

  /** Looks for NaN and infinity in a tensor: now if it is on the device, else when it comes. */
  void check(HostTensor tensor, Consumer<Boolean> found) {
    Source source = Source.of(tensor);
    CudaTensor known = tensors.get(source);
    if (known == null) {
      unchecked.put(source, found);
    } else {
      checks.begin(known, found);
    }
  }

  /** Room for a tensor whose values work on the compute stream will write; see {@link #get}. */
  CudaTensor make(HostTensor tensor) {
    CudaTensor room = in(buffer(tensor), tensor);
    if (tensors.putIfAbsent(Source.of(tensor), room) != null) {
      room.memory().close();
      throw new IllegalStateException(tensor.name() + " is on the device already");
    }
    return room;
  }

  /**
   * Begins to copy weights that were {@linkplain #make made} here to their memory on the host.
   *
   * @return is done when the copies have ended
   */
  CompletableFuture<Void> fetch(List<HostTensor> made) {
    underWay.values().removeIf(CompletableFuture::isDone);
    CompletableFuture<Void> ended =
        downloads.begin(
            made.stream()
                .map(tensor -> new WeightDownloads.Copy(get(tensor), tensor.data()))
                .toList());
    made.forEach(tensor -> underWay.put(Source.of(tensor), ended));
    return ended;
  }

  /**
   * Makes the buffer of a tensor free for other weights; tensors that {@link #get} returned for it
   * become unusable. Waits while the tensor is being copied to the host.
   */
  void release(HostTensor tensor) {
    Source source = Source.of(tensor);
    CompletableFuture<Void> copy = underWay.remove(source);
    if (copy != null) {
      // Whoever asked for the copy gets its error.
      copy.handle((_, error) -> error == null).join();
    }
    CudaTensor known = tensors.remove(source);
    if (known != null) {
      known.memory().close();
    }
  }

  private CudaTensor upload(HostTensor tensor) {
    DeviceBuffer buffer = buffer(tensor);
    buffer.awaitVacancy(copies);
    staging.upload(tensor.data(), buffer.address(), copies);
    arrived.record(copies);
    compute.await(arrived);
    return in(buffer, tensor);
  }

  private DeviceBuffer buffer(HostTensor tensor) {
    return new DeviceBuffer(context, tensor.data().byteSize(), tensor.name());
  }

  private static CudaTensor in(DeviceBuffer buffer, HostTensor tensor) {
    return new CudaTensor(tensor.dtype(), tensor.rows(), tensor.columns(), buffer, 0);
  }

  /**
   * The host memory from which a tensor was copied.
   *
   * @param scope lifetime of the host memory, since other memory may later have the same address
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
