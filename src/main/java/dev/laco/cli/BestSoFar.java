package dev.laco.cli;

import dev.laco.collapse.CollapsePlan;
import java.io.IOException;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** The best plan of a search that goes on: what an interrupt keeps of it. */
final class BestSoFar implements AutoCloseable {
  private final Console console;
  private final SideFiles.@Nullable SideFile file;
  private @Nullable CollapsePlan plan;
  private boolean done;

  /**
   * Nothing yet.
   *
   * @param file where {@code --plan} puts it
   */
  BestSoFar(Console console, SideFiles.@Nullable SideFile file) {
    this.console = console;
    this.file = file;
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
    if (file == null) {
      return "--plan FILE would keep the best plan found so far";
    }
    if (plan == null) {
      return "no plan had been found yet";
    }
    try {
      file.write(plan.toJsonText());
      file.publish();
    } catch (IOException | RuntimeException e) {
      return "the best plan found so far could not be written: " + e.getMessage();
    }
    return String.format(
        Locale.ROOT, "the best plan so far, of %d layers, is in %s", plan.depth(), file.file());
  }

  /** From now on an interrupt keeps nothing. */
  @Override
  public synchronized void close() {
    done = true;
  }
}
