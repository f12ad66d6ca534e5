package dev.laco.cli;

import dev.laco.apply.PlanApplier;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.function.LongConsumer;

/**
 * Writes a checkpoint; a process that is interrupted meanwhile (SIGINT, SIGTERM) leaves nothing of
 * it.
 */
final class CheckpointWrite {
  private CheckpointWrite() {}

  /** As {@link PlanApplier#write(Path, boolean, LongConsumer, Runnable)}. */
  static void run(
      PlanApplier applier,
      Path out,
      boolean overwrite,
      LongConsumer progress,
      Runnable beforeCommit) {
    Thread onShutdown = new Thread(applier::giveUp, "laco-cleanup");
    Runtime.getRuntime().addShutdownHook(onShutdown);
    try {
      applier.write(out, overwrite, progress, beforeCommit);
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
