package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.NonFinite;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.PlannedLayers;
import java.lang.foreign.SegmentAllocator;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A layer of the pruned model while some of its tensors are made anew: what it runs with on the
 * device, and the new tensors' values as they will be written.
 */
final class NewLayer implements AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final SegmentAllocator memory;
  private final int index;
  private final Map<LayerRole, HostTensor> made = new EnumMap<>(LayerRole.class);
  private final Map<LayerRole, Tensor> own = new EnumMap<>(LayerRole.class);

  /** In {@link #memory}, where the last of those that a role had ends up. */
  private final Map<LayerRole, HostTensor> kept = new EnumMap<>(LayerRole.class);

  /** What a role had before: the room of what it will have next. */
  private final Map<LayerRole, HostTensor> before = new EnumMap<>(LayerRole.class);

  private boolean finite = true;
  private final MemoryArena scratch = new MemoryArena();
  private final PlannedLayers layers;

  /** That it runs on at once. */
  private final long tokens;

  /**
   * The layer as its plan has it.
   *
   * @param layers the plan's own
   * @param index in the pruned model
   * @param memory owner of new tensors
   */
  NewLayer(Workbench bench, PlannedLayers layers, int index, SegmentAllocator memory) {
    this.backend = bench.backend();
    this.config = bench.config();
    this.tokens = bench.blocks().largest();
    this.layers = layers;
    this.index = index;
    this.memory = memory;
  }

  /**
   * What it runs with now; valid until weights of another layer are asked for, or a role has been
   * given new ones twice.
   */
  LayerWeights weights() {
    return layers.layer(index, tokens).with(own);
  }

  /**
   * Whether all values of all new tensors that it has had are finite: sums may be beyond what the
   * tensor's type holds.
   */
  boolean isFinite() {
    return finite;
  }

  /**
   * All new tensors, added to those of other layers, or none where some are not {@link #isFinite};
   * the layer runs no more.
   */
  NewWeights addTo(NewWeights others) {
    backend.release(List.copyOf(made.values()));
    backend.release(List.copyOf(before.values()));
    if (!finite) {
      return others;
    }
    NewWeights all = others;
    for (Map.Entry<LayerRole, HostTensor> tensor : made.entrySet()) {
      HostTensor last = Objects.requireNonNull(kept.get(tensor.getKey()));
      last.data().copyFrom(tensor.getValue().data());
      all = all.with(last);
    }
    return all;
  }

  /**
   * Room for a new tensor, to be filled and then {@link #use}d: that of the last but one.
   *
   * @param dtype the same for all tensors of a role
   */
  HostTensor allocate(LayerRole role, DType dtype) {
    TensorSpec spec =
        config.architecture().layerTensors(config).stream()
            .filter(s -> s.role() == role)
            .findFirst()
            .orElseThrow();
    String name = config.architecture().tensorName(index, spec);
    HostTensor old = before.remove(role);
    if (old != null) {
      backend.release(List.of(old));
      return old;
    }
    if (kept.containsKey(role)) {
      return HostTensor.allocate(scratch, name, dtype, spec.shape());
    }
    HostTensor room = HostTensor.allocate(memory, name, dtype, spec.shape());
    kept.put(role, room);
    return room;
  }

  /** From now on the layer has this tensor; its values must not change any more. */
  void use(LayerRole role, HostTensor tensor) {
    finite &= NonFinite.first(tensor.dtype(), tensor.data()) < 0;
    HostTensor old = made.put(role, tensor);
    if (old != null) {
      before.put(role, old);
    }
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

  @Override
  public void close() {
    scratch.close();
  }
}
