package dev.laco.apply;

import dev.laco.checkpoint.Checkpoint;
import dev.laco.prune.GivenPlan;
import java.nio.file.Path;

/** Plans carried out a second time. */
public final class Replay {
  private Replay() {}

  /** Writes the checkpoint that a plan file describes. */
  public static void apply(Path plan, Path model, Path out) {
    apply(plan, model, out, Long.MAX_VALUE);
  }

  /** Writes the checkpoint that a plan file describes, in weight files of a given size. */
  public static void apply(Path plan, Path model, Path out, long maxShardBytes) {
    try (GivenPlan given = GivenPlan.read(plan);
        Checkpoint checkpoint = Checkpoint.open(model)) {
      new PlanApplier(checkpoint, given.plan(), given.tensors(), maxShardBytes, warning -> {})
          .write(out, false, bytes -> {});
    }
  }
}
