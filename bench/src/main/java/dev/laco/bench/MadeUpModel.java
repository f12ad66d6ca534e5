package dev.laco.bench;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Random weights in the shapes of a model, in memory. */
final class MadeUpModel implements TensorSource {
  private final Map<String, HostTensor> tensors = new HashMap<>();

  /** Weights that keep activations at about their size from layer to layer. */
  MadeUpModel(ModelConfig config, DType dtype, MemoryArena arena) {
    Architecture architecture = config.architecture();
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec spec : architecture.layerTensors(config, layer)) {
        add(architecture.tensorName(layer, spec), spec.shape(), dtype, arena);
      }
    }
    long hidden = config.hiddenSize();
    add(architecture.embedding(), List.of((long) config.vocabSize(), hidden), dtype, arena);
    add(architecture.finalNorm(), List.of(hidden), dtype, arena);
  }

  private void add(String name, List<Long> shape, DType dtype, MemoryArena arena) {
    long rows = shape.size() == 1 ? 1 : shape.getFirst();
    long columns = shape.getLast();
    double scale = shape.size() == 1 ? 1 : Math.sqrt(3.0 / columns);
    MemoryTensor tensor = Values.random(arena, dtype, rows, columns, scale, tensors.size());
    tensors.put(name, new HostTensor(name, dtype, shape, tensor.data()));
  }

  @Override
  public HostTensor tensor(String name) {
    HostTensor tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException("no tensor " + name);
    }
    return tensor;
  }
}
