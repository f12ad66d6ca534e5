package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerWeights;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * A layer of the pruned model while some of its tensors are made anew: what it runs with on the
 * device, and the new tensors' values as they will be written.
 */
final class NewLayer {
  private final Backend backend;
  private final ModelConfig config;
  private final SegmentAllocator memory;
  private final int index;
  private final Map<LayerRole, HostTensor> made = new EnumMap<>(LayerRole.class);
  private final Map<LayerRole, Tensor> own = new EnumMap<>(LayerRole.class);

  /** All that were made, those that others replaced included. */
  private final List<HostTensor> onDevice = new ArrayList<>();

  private final Supplier<LayerWeights> planned;

  /**
   * The layer as its plan has it.
   *
   * @param index in the pruned model
   * @param planned asks for the plan's own weights
   * @param memory owner of new tensors
   */
  NewLayer(
      Backend backend,
      ModelConfig config,
      int index,
      Supplier<LayerWeights> planned,
      SegmentAllocator memory) {
    this.backend = backend;
    this.config = config;
    this.index = index;
    this.planned = planned;
    this.memory = memory;
  }

  /** What it runs with now; valid until weights of another layer are asked for. */
  LayerWeights weights() {
    return planned.get().with(own);
  }

  /** All new tensors, added to those of other layers; the layer runs no more. */
  NewWeights addTo(NewWeights others) {
    backend.release(onDevice);
    NewWeights all = others;
    for (HostTensor tensor : made.values()) {
      all = all.with(tensor);
    }
    return all;
  }

  /** Room for a new tensor, to be filled and then {@link #use}d. */
  HostTensor allocate(LayerRole role, DType dtype) {
    TensorSpec spec =
        config.architecture().layerTensors(config).stream()
            .filter(s -> s.role() == role)
            .findFirst()
            .orElseThrow();
    String name = config.architecture().layerPrefix(index) + spec.suffix();
    return HostTensor.allocate(memory, name, dtype, spec.shape());
  }

  /** From now on the layer has this tensor; its values must not change any more. */
  void use(LayerRole role, HostTensor tensor) {
    made.put(role, tensor);
    onDevice.add(tensor);
    own.put(role, backend.weight(tensor));
  }

  /** The tensor becomes {@code values}, a matrix on the device in f32, rounded once. */
  void use(LayerRole role, DType dtype, Tensor values) {
    HostTensor tensor = allocate(role, dtype);
    float[] row = new float[Math.toIntExact(values.columns())];
    for (long r = 0; r < values.rows(); r++) {
      backend.download(values.slice(r, r + 1), row);
      Values.store(row, tensor, r * row.length);
    }
    use(role, tensor);
  }

  /** The tensor becomes ones. */
  void ones(LayerRole role, DType dtype) {
    HostTensor tensor = allocate(role, dtype);
    for (long i = 0; i < tensor.elements(); i++) {
      Values.store(new float[] {1}, tensor, i);
    }
    use(role, tensor);
  }
}
