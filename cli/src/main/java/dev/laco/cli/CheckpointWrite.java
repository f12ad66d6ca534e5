package dev.laco.cli;

import dev.laco.apply.PlanApplier;
import java.util.concurrent.CountDownLatch;

/**
 * Writes a checkpoint; a process that is interrupted meanwhile (SIGINT, SIGTERM) leaves nothing of
 * it.
 */
final class CheckpointWrite {
  private CheckpointWrite() {}

  /**
   * Writes.
   *
   * @param applier what writes the checkpoint
   * @param write lets the applier write
   */
  static void run(PlanApplier applier, Runnable write) {
    Thread onShutdown = new Thread(applier::giveUp, "laco-cleanup");
    Runtime.getRuntime().addShutdownHook(onShutdown);
    try {
      write.run();
    } finally {
      if (isEnding(onShutdown)) {
        sleepToTheEnd();
      }
    }
  }

  private static boolean isEnding(Thread hook) {
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
      return false;
    } catch (IllegalStateException e) {
      return true;
    }
  }

  /** All that this thread could still report is that its files went. */
  private static void sleepToTheEnd() {
    try {
      new CountDownLatch(1).await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
