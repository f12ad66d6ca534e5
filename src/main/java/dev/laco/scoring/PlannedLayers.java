package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.collapse.Coefficients;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerStack;
import dev.laco.transformer.LayerWeights;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/**
 * The layers of a plan. A tensor that is one original is used where it lies; any other is mixed
 * into one scratch layer, which the next mixed layer overwrites.
 */
public final class PlannedLayers implements LayerStack, AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final CheckpointLayers originals;
  private final List<TensorSpec> specs;
  private final UnaryOperator<DType> mixedDType;
  private final TensorArena arena;
  private final Map<LayerRole, Tensor> scratch = new EnumMap<>(LayerRole.class);
  private CollapsePlan plan;

  /**
   * Layers of plans over one checkpoint.
   *
   * @param mixedDType dtype of a mixed tensor by that of its base: {@link Backend#mixedDType} to
   *     score, the identity for the values that would be written
   */
  public PlannedLayers(
      Backend backend,
      ModelConfig config,
      TensorSource source,
      CollapsePlan plan,
      UnaryOperator<DType> mixedDType) {
    this.backend = backend;
    this.config = config;
    this.originals = new CheckpointLayers(backend, config, source);
    this.specs = config.architecture().layerTensors(config);
    this.mixedDType = mixedDType;
    this.arena = backend.arena();
    this.plan = plan;
  }

  /** From now on the layers are those of {@code next}. */
  void use(CollapsePlan next) {
    plan = next;
  }

  @Override
  public int depth() {
    return plan.depth();
  }

  @Override
  public LayerWeights layer(int index, long tokens) {
    LayerMix mix = plan.layers().get(index);
    Map<LayerRole, Tensor> tensors = new EnumMap<>(LayerRole.class);
    List<TensorMix> mixes = new ArrayList<>();
    List<LayerRole> mixedRoles = new ArrayList<>();
    for (TensorSpec spec : specs) {
      Coefficients coefficients = mix.of(spec.role().group());
      if (coefficients.isCopy()) {
        tensors.put(spec.role(), originals.tensor(coefficients.terms().firstKey(), spec));
      } else {
        Tensor base = originals.tensor(mix.base(), spec);
        Tensor out = scratch(spec.role(), base);
        mixes.add(
            new TensorMix(
                out,
                coefficients.terms().values().stream().mapToDouble(Double::doubleValue).toArray(),
                coefficients.terms().keySet().stream()
                    .map(layer -> originals.tensor(layer, spec))
                    .toList()));
        mixedRoles.add(spec.role());
      }
    }
    if (!mixes.isEmpty()) {
      List<Tensor> mixed = backend.mixed(mixes, tokens);
      for (int i = 0; i < mixed.size(); i++) {
        tensors.put(mixedRoles.get(i), mixed.get(i));
      }
    }
    return new LayerWeights(tensors);
  }

  private Tensor scratch(LayerRole role, Tensor base) {
    DType dtype = mixedDType.apply(base.dtype());
    Tensor tensor = scratch.get(role);
    if (tensor == null || tensor.dtype() != dtype) {
      tensor = arena.allocate(dtype, base.rows(), base.columns());
      scratch.put(role, tensor);
    }
    return tensor;
  }

  @Override
  public int slidingWindow(int index) {
    return config.slidingWindows().get(plan.layers().get(index).base());
  }

  @Override
  public void close() {
    arena.close();
  }
}
