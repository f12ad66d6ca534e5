package dev.laco.training;

import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.NewWeights;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.List;

/** A model without its last layer but one, before a training. */
public record PrunedModel(RunningModel running, CollapsePlan plan, PlannedLayers layers)
    implements AutoCloseable {
  /** The model of a checkpoint without that layer. */
  public static PrunedModel of(Backend backend, Checkpoint checkpoint) {
    RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
    CollapsePlan whole = CollapsePlan.identity(PlanApplier.source(checkpoint));
    List<LayerMix> kept = new ArrayList<>(whole.layers());
    kept.remove(whole.depth() - 2);
    CollapsePlan plan = new CollapsePlan(whole.source(), kept);
    return new PrunedModel(running, plan, running.pruned(plan, NewWeights.NONE));
  }

  /**
   * What is trained: the layer behind the gap, and others.
   *
   * @param inFront number of layers in front of the gap that are trained, too
   */
  public Student student(int inFront) {
    return new Student(layers.outside(), layers, plan.depth() - 1 - inFront);
  }

  @Override
  public void close() {
    layers.close();
  }
}
