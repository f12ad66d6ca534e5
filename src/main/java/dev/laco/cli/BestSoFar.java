package dev.laco.cli;

import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** The best plan of a search that goes on: what an interrupt keeps of it. */
final class BestSoFar implements AutoCloseable {
  private final Console console;
  private final SideFiles files;
  private final @Nullable PlanFiles place;
  private @Nullable CollapsePlan plan;
  private boolean done;

  /**
   * Nothing yet.
   *
   * @param files published when the plan is saved; nothing else may have been written to them
   * @param place where {@code --plan} puts it
   */
  BestSoFar(Console console, SideFiles files, @Nullable PlanFiles place) {
    this.console = console;
    this.files = files;
    this.place = place;
  }

  /** This is the best plan now. */
  synchronized void set(CollapsePlan best) {
    plan = best;
  }

  /** Called on an interrupt, by another thread: saves the plan if there is a place for it. */
  synchronized void save() {
    if (!done) {
      console.error("interrupted: " + saved());
    }
  }

  private String saved() {
    if (place == null) {
      return "--plan FILE would keep the best plan found so far";
    }
    if (plan == null) {
      return "no plan had been found yet";
    }
    try {
      place.write(plan, new PlanTensors(NewWeights.NONE));
      files.publish();
    } catch (IOException | RuntimeException e) {
      return "the best plan found so far could not be written: " + e.getMessage();
    }
    return String.format(
        Locale.ROOT,
        "the best plan so far, of %d layers, is in %s",
        plan.depth(),
        place.plan().file());
  }

  /** From now on an interrupt keeps nothing. */
  @Override
  public synchronized void close() {
    done = true;
  }
}
