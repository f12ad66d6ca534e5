package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
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
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A layer of the pruned model whose tensors are being replaced: the weights that the layer runs
 * with on the device, and the values of the new tensors as they will be written.
 */
final class NewLayer implements AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final Matrices matrices;
  private final SegmentAllocator memory;
  private final int index;
  private final Map<LayerRole, HostTensor> made = new EnumMap<>(LayerRole.class);
  private final Map<LayerRole, Tensor> own = new EnumMap<>(LayerRole.class);

  /**
   * The tensors in {@link #memory} that the last new values end up in, whole as they are stored.
   */
  private final Map<TensorSpec, HostTensor> kept = new HashMap<>();

  /** For each role, the tensor before the current one; its memory is used for the next one. */
  private final Map<LayerRole, HostTensor> before = new EnumMap<>(LayerRole.class);

  private boolean finite = true;
  private final MemoryArena scratch = new MemoryArena();
  private final PlannedLayers layers;

  /** Tokens that the layer runs on at once. */
  private final long tokens;

  /**
   * Starts with the tensors that the plan gives the layer.
   *
   * @param layers the layers of the plan
   * @param index of the layer in the pruned model
   * @param memory in which the new tensors are allocated
   */
  NewLayer(Workbench bench, PlannedLayers layers, int index, SegmentAllocator memory) {
    this.backend = bench.backend();
    this.config = bench.config();
    this.matrices = bench.matrices();
    this.tokens = bench.blocks().largest();
    this.layers = layers;
    this.index = index;
    this.memory = memory;
  }

  /**
   * The layer's current weights; valid until the weights of another layer are asked for, or {@link
   * #use} has been called twice for one role.
   */
  LayerWeights weights() {
    return layers.layer(index, tokens).with(own);
  }

  /**
   * Whether all values of all new tensors so far are finite; a fitted value may overflow the dtype
   * of its tensor.
   */
  boolean isFinite() {
    return finite;
  }

  /**
   * Adds the layer's new tensors to those of other layers; adds none if some value is not finite.
   * The layer must not be used afterwards.
   */
  NewWeights addTo(NewWeights others) {
    backend.release(List.copyOf(made.values()));
    backend.release(List.copyOf(before.values()));
    if (!finite) {
      return others;
    }
    NewWeights all = others;
    for (Map.Entry<TensorSpec, HostTensor> stored : kept.entrySet()) {
      for (TensorSpec.Part part : stored.getKey().parts()) {
        fill(part.role(), stored.getValue().rows(part.from(), part.to()));
      }
      all = all.with(stored.getValue());
    }
    return all;
  }

  /** Copies the values of a role to the rows of a tensor that are kept: new ones or the plan's. */
  private void fill(LayerRole role, HostTensor rows) {
    HostTensor last = made.get(role);
    if (last != null) {
      rows.data().copyFrom(last.data());
      return;
    }
    store(layers.layer(index, tokens).get(role), rows);
  }

  /**
   * Memory for a new tensor, which the caller fills and passes to {@link #use}. Two tensors of a
   * role exist at a time: a third one takes the memory of the first.
   *
   * @param dtype the same in every call for a role
   */
  HostTensor allocate(LayerRole role, DType dtype) {
    HostTensor old = before.remove(role);
    if (old != null) {
      backend.release(List.of(old));
      return old;
    }
    TensorSpec spec = config.architecture().layerTensor(config, layers.base(index), role);
    String name = config.architecture().tensorName(index, spec);
    TensorSpec.Part part = spec.part(role);
    HostTensor whole =
        kept.computeIfAbsent(
            spec, stored -> HostTensor.allocate(memory, name, dtype, stored.shape()));
    HostTensor rows = whole.rows(part.from(), part.to());
    return made.containsKey(role) ? HostTensor.allocate(scratch, name, dtype, rows.shape()) : rows;
  }

  /** Replaces the layer's tensor of a role; the new values must not change afterwards. */
  void use(LayerRole role, HostTensor tensor) {
    finite &= NonFinite.first(tensor.dtype(), tensor.data()) < 0;
    HostTensor old = made.put(role, tensor);
    if (old != null) {
      before.put(role, old);
    }
    own.put(role, backend.weight(tensor));
  }

  /** Replaces the tensor of a role by a device matrix in f32, each value rounded once. */
  void use(LayerRole role, DType dtype, Tensor values) {
    HostTensor tensor = allocate(role, dtype);
    store(values, tensor);
    use(role, tensor);
  }

  /** Copies values to the host, each rounded once to the type that it has there. */
  private void store(Tensor values, HostTensor to) {
    try (TensorArena scratch = backend.arena()) {
      boolean same = values.dtype() == to.dtype();
      backend.download(same ? values : matrices.narrow(values, to.dtype(), scratch), to);
    }
  }

  /** Replaces a norm's weight by one with which the norm multiplies by 1. */
  void neutral(LayerRole role, DType dtype) {
    HostTensor tensor = allocate(role, dtype);
    for (long i = 0; i < tensor.elements(); i++) {
      Values.store(new float[] {config.norm().neutralWeight()}, tensor, i);
    }
    use(role, tensor);
  }

  @Override
  public void close() {
    scratch.close();
  }
}
