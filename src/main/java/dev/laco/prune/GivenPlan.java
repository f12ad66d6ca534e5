package dev.laco.prune;

import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.text.TextFile;
import java.nio.file.Path;

/**
 * A plan from a file that a user names.
 *
 * @param file the file
 * @param plan the plan in it
 * @param tensors the new tensors that the plan names, from the file beside it; none if it names
 *     none
 */
public record GivenPlan(Path file, CollapsePlan plan, PlanTensors tensors)
    implements AutoCloseable {
  /**
   * Reads a plan.
   *
   * @throws dev.laco.BadInputException if the file holds no plan, or its new tensors are missing or
   *     others
   */
  public static GivenPlan read(Path file) {
    CollapsePlan plan = plan(file);
    return new GivenPlan(file, plan, PlanTensors.beside(file, plan));
  }

  /**
   * Reads a plan, but not its new tensors.
   *
   * @throws dev.laco.BadInputException if the file holds none
   */
  public static CollapsePlan plan(Path file) {
    return CollapsePlan.parse(file.toString(), TextFile.read(file));
  }

  /**
   * Checks that the plan is one for a model.
   *
   * @throws dev.laco.BadInputException if the plan is for another model
   */
  void requireFor(Checkpoint model) {
    new PlanApplier(model, plan, tensors, Long.MAX_VALUE, warning -> {});
  }

  /** Closes the file of the new tensors. */
  @Override
  public void close() {
    tensors.close();
  }
}
