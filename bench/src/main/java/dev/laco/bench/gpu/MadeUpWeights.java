package dev.laco.bench.gpu;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.bench.CallsOf;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Weights that are made up on the device, and the backend that knows them. On the host a weight has
 * no bytes, only a name.
 */
final class MadeUpWeights implements TensorSource, AutoCloseable {
  private final BenchDevice device;
  private final Backend backend;
  private final DType dtype;
  private final TensorArena arena;
  private final Map<String, Tensor> tensors = new HashMap<>();

  /**
   * Fills the device with a model.
   *
   * @param device the same that {@code backend} is on
   */
  MadeUpWeights(BenchDevice device, Backend backend, ModelConfig config, DType dtype) {
    this.device = device;
    this.backend =
        CallsOf.backend(
            backend,
            (method, arguments, rest) ->
                method.getName().equals("weight") && arguments[0] instanceof HostTensor tensor
                    ? known(tensor.name())
                    : rest.make());
    this.dtype = dtype;
    this.arena = device.arena();
    Architecture architecture = config.architecture();
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec spec : architecture.layerTensors(config, layer)) {
        add(architecture.tensorName(layer, spec), spec.shape());
      }
    }
    long hidden = config.hiddenSize();
    add(architecture.embedding(), List.of((long) config.vocabSize(), hidden));
    architecture.finalNormTensors().forEach(norm -> add(norm, List.of(hidden)));
    if (!config.tieWordEmbeddings()) {
      add(architecture.head(), List.of((long) config.vocabSize(), hidden));
    }
    device.synchronize();
  }

  /** Weights that keep activations at about their size from layer to layer. */
  private void add(String name, List<Long> shape) {
    boolean vector = shape.size() == 1;
    Tensor tensor = arena.allocate(dtype, vector ? 1 : shape.getFirst(), shape.getLast());
    device.fill(tensor, vector ? 1 : Math.sqrt(3.0 / shape.getLast()), tensors.size());
    tensors.put(name, tensor);
  }

  /** The backend whose {@code weight} knows the weights by their names. */
  Backend backend() {
    return backend;
  }

  /** A name without bytes. */
  @Override
  public HostTensor tensor(String name) {
    return new HostTensor(name, dtype, List.of(), MemorySegment.NULL);
  }

  @Override
  public long byteSize(String name) {
    return known(name).elements() * dtype.byteSize();
  }

  /** What the device has left; the buffers of a search are allocated before it asks. */
  @Override
  public long spare() {
    return Objects.requireNonNull(backend.info().memory()).free();
  }

  private Tensor known(String name) {
    Tensor known = tensors.get(name);
    if (known == null) {
      throw new IllegalArgumentException("no tensor " + name);
    }
    return known;
  }

  @Override
  public void close() {
    arena.close();
    backend.close();
  }
}
