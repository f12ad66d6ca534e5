package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSource;

/**
 * A model on a device: the original, and every pruned model that a plan makes of it. This record
 * does not own its parts; their owner closes them.
 *
 * @param backend the device that computes
 * @param config the original's config
 * @param weights the original's tensors by name
 */
public record RunningModel(Backend backend, ModelConfig config, TensorSource weights) {
  /** The unpruned model. */
  public CausalLm original() {
    return new CausalLm(this, new CheckpointLayers(this));
  }

  /**
   * The layers of a plan with the values that would be written to a checkpoint: mixed tensors are
   * rounded to the base's dtype. {@link PlannedLayers#model} is the pruned model.
   *
   * @param tensors fitted tensors, which take the place of what the plan's mixes give
   */
  public PlannedLayers pruned(CollapsePlan plan, NewWeights tensors) {
    PlannedLayers layers = new PlannedLayers(this, plan, dtype -> dtype);
    layers.use(plan, tensors);
    return layers;
  }

  /** The layers of plans that are only compared: mixed tensors in {@link Backend#mixedDType}. */
  public PlannedLayers candidates(CollapsePlan first) {
    return new PlannedLayers(this, first, backend::mixedDType);
  }

  /** The same device and config with other weights. */
  RunningModel with(TensorSource other) {
    return new RunningModel(backend, config, other);
  }
}
