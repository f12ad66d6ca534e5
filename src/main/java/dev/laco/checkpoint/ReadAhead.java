package dev.laco.checkpoint;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Reads tensors into memory, one after the other, on a thread of its own. */
final class ReadAhead implements AutoCloseable {
  private final Map<String, Future<?>> begun = new ConcurrentHashMap<>();

  /** Starts its thread with the first tensor. */
  private final ExecutorService thread =
      Executors.newSingleThreadExecutor(
          Thread.ofPlatform().name("laco-read-ahead").daemon().factory());

  private volatile boolean closing;

  /**
   * Queues a tensor, unless it is queued already.
   *
   * @param bringIn reads the tensor into memory
   */
  void begin(String name, Runnable bringIn) {
    begun.computeIfAbsent(
        name,
        absent ->
            thread.submit(
                () -> {
                  if (!closing) {
                    bringIn.run();
                  }
                }));
  }

  /** Waits until a queued tensor was read. Does nothing for a tensor that is not queued. */
  void await(String name) {
    Future<?> future = begun.remove(name);
    if (future == null) {
      return;
    }
    try {
      future.get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof Error error) {
        throw error;
      }
      throw new IllegalStateException(e.getCause());
    }
  }

  @Override
  public void close() {
    closing = true;
    thread.close();
  }
}
