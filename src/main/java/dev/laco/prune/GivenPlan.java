package dev.laco.prune;

import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.text.TextFile;
import java.nio.file.Path;

/**
 * A plan that a user names, and its new tensors, if it has any, beside it.
 *
 * @param file where it was read from
 */
public record GivenPlan(Path file, CollapsePlan plan, PlanTensors tensors)
    implements AutoCloseable {
  /**
   * Reads a plan.
   *
   * @throws dev.laco.BadInputException if it is none, or not with these tensors
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

  @Override
  public void close() {
    tensors.close();
  }
}
