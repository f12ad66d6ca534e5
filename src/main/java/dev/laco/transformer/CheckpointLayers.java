package dev.laco.transformer;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The unchanged layers of a checkpoint. */
public final class CheckpointLayers implements LayerStack {
  private final DeviceMemory backend;
  private final ModelConfig config;
  private final TensorSource source;

  /** The layer that was asked for last. */
  private int last = -1;

  /** Layers of a model; its weights must have every tensor that the config implies. */
  public CheckpointLayers(RunningModel model) {
    this.backend = model.backend();
    this.config = model.config();
    this.source = model.weights();
  }

  @Override
  public int depth() {
    return config.numHiddenLayers();
  }

  @Override
  public Map<TensorSpec, Tensor> tensors(int index, long tokens) {
    source.release();
    Map<TensorSpec, Tensor> tensors = new HashMap<>();
    specs(index).forEach(spec -> tensors.put(spec, tensor(index, spec)));
    // A backward pass goes through the layers in the reverse order.
    int next = index == last - 1 ? index - 1 : index + 1;
    last = index;
    if (next >= 0 && next < depth()) {
      source.prefetch(config.architecture().tensorNames(next, config));
    }
    return tensors;
  }

  /** The tensors of layer {@code index}. */
  public List<TensorSpec> specs(int index) {
    return config.architecture().layerTensors(config, index);
  }

  /** One tensor of layer {@code index}. */
  public Tensor tensor(int index, TensorSpec spec) {
    return backend.weight(source.tensor(name(index, spec)));
  }

  /** The name of a tensor of layer {@code index}. */
  public String name(int index, TensorSpec spec) {
    return config.architecture().tensorName(index, spec);
  }

  @Override
  public LayerAttention attention(int index) {
    return config.attention().get(index);
  }
}
