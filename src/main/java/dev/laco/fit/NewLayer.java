package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerPart;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.PlannedLayers;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * A layer of the pruned model whose tensors are being replaced. New tensors stay on the device, in
 * the types in which they will be written, until the layer is done.
 */
final class NewLayer implements AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final Matrices matrices;
  private final SegmentAllocator memory;
  private final int index;

  /** The new tensors. */
  private final Map<LayerPart, Made> made = new HashMap<>();

  /** For each of them the new tensor before the current one, which the caller may still use. */
  private final Map<LayerPart, Made> before = new HashMap<>();

  private final PlannedLayers layers;

  /** Tokens that the layer runs on at once. */
  private final long tokens;

  /**
   * A new tensor.
   *
   * @param memory has this tensor only
   */
  private record Made(Tensor tensor, TensorArena memory) {}

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
    this.tokens = bench.blocks().widest();
    this.layers = layers;
    this.index = index;
    this.memory = memory;
  }

  /**
   * The layer's current weights; valid until the weights of another layer are asked for, or {@link
   * #use} has been called twice for one tensor.
   */
  LayerWeights weights() {
    Map<LayerPart, Tensor> own = new HashMap<>();
    made.forEach((part, last) -> own.put(part, last.tensor));
    return layers.layer(index, tokens).with(own);
  }

  /**
   * Adds the layer's new tensors to those of other layers. They stay on the device, too, as its
   * {@linkplain Backend#weight weights}. The layer must not be used afterwards.
   */
  void addTo(FittedTensors others) {
    before.values().forEach(old -> old.memory.close());
    before.clear();
    List<HostTensor> all = new ArrayList<>();
    for (TensorSpec spec : config.architecture().layerTensors(config, layers.base(index))) {
      if (spec.parts().stream().anyMatch(part -> made.containsKey(part.layerPart()))) {
        all.add(stored(spec));
      }
    }
    others.add(index, all);
  }

  /**
   * A tensor as it will be written, on the device; rows without new values are those of the plan.
   */
  private HostTensor stored(TensorSpec spec) {
    DType dtype =
        spec.parts().stream()
            .flatMap(part -> Stream.ofNullable(made.get(part.layerPart())))
            .findFirst()
            .orElseThrow()
            .tensor
            .dtype();
    HostTensor whole =
        HostTensor.allocate(
            memory, config.architecture().tensorName(index, spec), dtype, spec.shape());
    Tensor elements = backend.newWeight(whole).reshape(whole.elements(), 1);
    long row = whole.elements() / spec.parts().getLast().to();
    for (TensorSpec.Part part : spec.parts()) {
      Made last = made.get(part.layerPart());
      Tensor values =
          last != null ? last.tensor : layers.layer(index, tokens).get(part.layerPart());
      Tensor place =
          elements
              .slice(part.from() * row, part.to() * row)
              .reshape(values.rows(), values.columns());
      if (values.dtype() == dtype) {
        backend.copy(values, place);
      } else {
        matrices.round(values, place);
      }
    }
    return whole;
  }

  /** Replaces the tensor of a role by a device matrix in f32, each value rounded once. */
  void use(LayerRole role, DType dtype, Tensor values) {
    use(LayerPart.of(role), dtype, values);
  }

  /** Replaces a tensor by a device matrix in f32, each value rounded once. */
  void use(LayerPart part, DType dtype, Tensor values) {
    matrices.round(values, replace(part, dtype, values));
  }

  /** Replaces the tensor of a role that is a vector, each value rounded once. */
  void use(LayerRole role, DType dtype, float[] values) {
    try (TensorArena scratch = backend.arena()) {
      Tensor row = scratch.allocate(DType.F32, 1, values.length);
      backend.upload(values, row);
      use(role, dtype, row);
    }
  }

  /**
   * Replaces a tensor by one whose values the caller writes; zeros for now.
   *
   * @param like has the shape of the new tensor
   */
  Tensor replace(LayerPart part, DType dtype, Tensor like) {
    TensorArena arena = backend.arena();
    Tensor tensor = arena.allocate(dtype, like.rows(), like.columns());
    Made last = made.put(part, new Made(tensor, arena));
    Made old = last == null ? null : before.put(part, last);
    if (old != null) {
      old.memory.close();
    }
    return tensor;
  }

  /** Replaces a norm's weight by one with which the norm multiplies by 1. */
  void neutral(LayerRole role, DType dtype) {
    float[] ones = new float[config.hiddenSize()];
    Arrays.fill(ones, config.norm().neutralWeight());
    use(role, dtype, ones);
  }

  @Override
  public void close() {
    made.values().forEach(last -> last.memory.close());
    before.values().forEach(old -> old.memory.close());
  }
}
