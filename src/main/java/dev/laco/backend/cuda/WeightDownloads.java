package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;

/**
 * Copies weights that the device has made to the host while the device works on. The copies are on
 * a stream of their own, behind the work that made the weights. A thread of its own queues the
 * copies and waits for them, so that the thread that uses the device waits for none.
 */
final class WeightDownloads implements AutoCloseable {
  private final CudaContext context;
  private final CudaStream stream;
  private final CudaEvent made;

  /** Starts its thread with the first copy. */
  private final ExecutorService thread =
      Executors.newSingleThreadExecutor(
          Thread.ofPlatform().name("laco-weight-downloads").daemon().factory());

  /** Made when it is first needed: most jobs make no weights. Used by the thread alone. */
  private @Nullable PinnedRing ring;

  WeightDownloads(CudaContext context) {
    this.context = context;
    this.stream = new CudaStream(context);
    this.made = new CudaEvent(context);
  }

  /**
   * A copy.
   *
   * @param from is not written to and not freed before the copy has ended
   * @param to may be used by any thread
   */
  record Copy(CudaTensor from, MemorySegment to) {}

  /**
   * Begins copies of tensors, whose values are those after the work that the context's stream has
   * been given so far.
   *
   * @return is done when all have ended, with the error of the first that failed
   */
  CompletableFuture<Void> begin(List<Copy> copies) {
    if (ring == null) {
      ring = Staging.forDownloads(context);
    }
    PinnedRing pinned = ring;
    made.record(context.stream());
    stream.await(made);
    return CompletableFuture.runAsync(
        () -> {
          context.enterBeside();
          copies.forEach(copy -> pinned.download(copy.from().input(), copy.to(), stream));
        },
        thread);
  }

  /** Ends the thread, once the copies that were begun have ended. */
  @Override
  public void close() {
    thread.close();
  }
}
