package dev.laco.cli;

import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.NewWeights;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The best plan of a job that goes on, with its new tensors once there are some: what an interrupt
 * keeps of it.
 */
final class BestSoFar implements AutoCloseable {
  private final Console console;
  private final @Nullable PlanFiles place;
  private final Function<String, String> goOn;
  private @Nullable CollapsePlan plan;
  private PlanTensors tensors = new PlanTensors(NewWeights.NONE);
  private boolean interrupted;
  private boolean done;

  /**
   * Nothing yet.
   *
   * @param place where it is kept; null for nowhere
   * @param goOn what a user does with the file of a plan
   */
  BestSoFar(Console console, @Nullable PlanFiles place, Function<String, String> goOn) {
    this.console = console;
    this.place = place;
    this.goOn = goOn;
  }

  /** This is the best plan now; nothing is fitted. */
  void set(CollapsePlan best) {
    set(best, new PlanTensors(NewWeights.NONE));
  }

  /** This is the best plan now, with these new tensors. */
  synchronized void set(CollapsePlan best, PlanTensors newTensors) {
    waitIfInterrupted();
    plan = best;
    tensors = newTensors;
  }

  /** Does something that an interrupt must not meet half done. */
  synchronized void undisturbed(Runnable step) {
    waitIfInterrupted();
    step.run();
  }

  /** The last step: when it is done there is nothing left that an interrupt could keep. */
  synchronized void finish(Runnable last) {
    waitIfInterrupted();
    last.run();
    done = true;
  }

  /**
   * Takes a step without which what was made is lost: where the step fails, the plan is kept, and a
   * warning says where and what a user does with it.
   *
   * @return what the step gives
   */
  <T> T keptIfFails(Supplier<T> step) {
    try {
      return step.get();
    } catch (RuntimeException e) {
      keep();
      throw e;
    }
  }

  private synchronized void keep() {
    waitIfInterrupted();
    if (place != null && plan != null) {
      console.warning("nothing was written; " + saved());
      done = true;
    }
  }

  /** Called on an interrupt, by another thread: keeps the plan if there is a place for it. */
  synchronized void save() {
    if (!done) {
      interrupted = true;
      console.end("interrupted: " + saved());
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
      place.write(plan, tensors);
      place.publish();
    } catch (RuntimeException e) {
      return "the best plan found so far could not be written: " + e.getMessage();
    }
    Path file = place.plan().file();
    return String.format(
        Locale.ROOT,
        "the best plan so far, of %d layers, is in %s; %s",
        plan.depth(),
        file,
        goOn.apply(Shell.quoted(file)));
  }

  /** The process is ending. What it would still do might undo what was kept. */
  private void waitIfInterrupted() {
    if (interrupted) {
      try {
        new CountDownLatch(1).await();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** From now on an interrupt keeps nothing. */
  @Override
  public synchronized void close() {
    done = true;
  }
}
