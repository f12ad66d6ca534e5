package dev.laco.fit;

import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.util.EnumMap;
import java.util.Map;

/** The tensors of one original layer where they lie in host memory. */
record HostLayer(Map<LayerRole, HostTensor> tensors) {
  static HostLayer of(ModelConfig config, TensorSource source, int index) {
    Map<LayerRole, HostTensor> tensors = new EnumMap<>(LayerRole.class);
    for (TensorSpec spec : config.architecture().layerTensors(config)) {
      String name = config.architecture().layerPrefix(index) + spec.suffix();
      tensors.put(spec.role(), source.tensor(name));
    }
    return new HostLayer(tensors);
  }

  boolean has(LayerRole role) {
    return tensors.containsKey(role);
  }

  /** A tensor that the layer has. */
  HostTensor get(LayerRole role) {
    HostTensor tensor = tensors.get(role);
    if (tensor == null) {
      throw new IllegalStateException("layer without " + role);
    }
    return tensor;
  }
}
