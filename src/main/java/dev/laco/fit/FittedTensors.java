package dev.laco.fit;

import dev.laco.backend.DeviceMemory;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.NonFinite;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.IntConsumer;

/** New tensors of layers, which come to the host while later layers are fitted. */
final class FittedTensors implements AutoCloseable {
  private final DeviceMemory device;
  private final List<Layer> layers = new ArrayList<>();

  /**
   * The new tensors of a layer.
   *
   * @param index of the layer in the pruned model
   * @param finite is done when the tensors are on the host: whether all of their values are finite
   */
  private record Layer(int index, List<HostTensor> tensors, CompletableFuture<Boolean> finite) {}

  FittedTensors(DeviceMemory device) {
    this.device = device;
  }

  /**
   * Begins to copy a layer's tensors to the host.
   *
   * @param tensors {@linkplain DeviceMemory#newWeight new weights} with all of their values
   */
  void add(int layer, List<HostTensor> tensors) {
    layers.add(new Layer(layer, tensors, device.fetch(tensors).thenApply(_ -> areFinite(tensors))));
  }

  private static boolean areFinite(List<HostTensor> tensors) {
    return tensors.stream().allMatch(tensor -> NonFinite.first(tensor.dtype(), tensor.data()) < 0);
  }

  /**
   * Waits for the tensors of all layers. A layer of which some value is not finite, since it
   * overflows the dtype of its tensor, has no new tensors.
   *
   * @param damaged is told the indices of such layers
   */
  NewWeights all(IntConsumer damaged) {
    NewWeights all = NewWeights.NONE;
    for (Layer layer : layers) {
      if (isFinite(layer)) {
        all = all.with(layer.tensors);
      } else {
        device.release(layer.tensors);
        damaged.accept(layer.index);
      }
    }
    return all;
  }

  private static boolean isFinite(Layer layer) {
    try {
      return layer.finite.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof RuntimeException failed) {
        throw failed;
      }
      throw e;
    }
  }

  /** Waits until no copy is under way, also after an error: their owner may free the tensors. */
  @Override
  public void close() {
    layers.forEach(layer -> layer.finite.handle((_, error) -> error == null).join());
  }
}
