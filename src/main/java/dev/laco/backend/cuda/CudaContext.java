package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * A device's primary context, for use on the thread that opened it: the driver has a current
 * context for each thread of the operating system. Every op begins with {@link #enter}. Only copies
 * may be left to {@linkplain #enterBeside another thread}.
 */
final class CudaContext implements AutoCloseable {
  private static final String HELP =
      "use fewer or shorter calibration sentences, a smaller "
          + Setting.of("maxLength")
          + " or "
          + Setting.of("maxTokens")
          + ", or "
          + Setting.of("device")
          + " cpu";

  private final CudaDriver driver;
  private final CudaDevice device;
  private final Thread owner = Thread.currentThread();
  private final Set<CudaObject> open = new LinkedHashSet<>();
  private final Arena arena = Arena.ofShared();
  private final long handle;
  private final MemoryBlocks memory;
  private final CudaStream stream;
  private boolean closed;

  /**
   * Retains the primary context of {@code device} and makes it the calling thread's current one.
   */
  CudaContext(CudaDriver driver, CudaDevice device) {
    if (owner.isVirtual()) {
      throw new IllegalStateException("a CUDA context needs a platform thread");
    }
    this.driver = driver;
    this.device = device;
    this.handle = driver.retainContext(device.handle());
    try {
      driver.makeCurrent(handle);
      this.memory = new MemoryBlocks(this);
      this.stream = new CudaStream(this);
    } catch (CudaException e) {
      driver.releaseContext(device.handle());
      throw e;
    }
  }

  CudaDriver driver() {
    return driver;
  }

  CudaDevice device() {
    return device;
  }

  /** The device's memory, from which buffers are made. */
  MemoryBlocks memory() {
    return memory;
  }

  /** The stream on which the context's user computes. */
  CudaStream stream() {
    return stream;
  }

  /** Host memory that is freed with the context, for small things. */
  Arena arena() {
    return arena;
  }

  /**
   * Makes this context the current one of the calling thread, which must be the one that opened the
   * context. To be called at the beginning of every op.
   */
  void enter() {
    requireOwner();
    driver.makeCurrent(handle);
  }

  /**
   * Makes this context the current one of a thread that queues copies on a stream of its own and
   * waits for them, beside the thread that opened the context. It must end before the context is
   * closed.
   */
  void enterBeside() {
    driver.makeCurrent(handle);
  }

  /** Throws unless the context is open and the calling thread opened it. */
  void requireOwner() {
    if (closed) {
      throw new IllegalStateException("the CUDA context is closed");
    }
    if (Thread.currentThread() != owner) {
      throw new IllegalStateException(
          String.format(
              Locale.ROOT,
              "the CUDA context of thread %s was used from thread %s",
              owner.getName(),
              Thread.currentThread().getName()));
    }
  }

  void register(CudaObject object) {
    open.add(object);
  }

  void unregister(CudaObject object) {
    open.remove(object);
  }

  /**
   * Turns a failed allocation into an error that tells a user what helps.
   *
   * @param purpose what the memory was for
   * @param bytes size of the allocation
   */
  ResourceException explain(CudaException e, String purpose, long bytes) {
    if (e.code() != CudaException.OUT_OF_MEMORY) {
      return e.about(String.format(Locale.ROOT, "%,d bytes for %s", bytes, purpose));
    }
    return new ResourceException(
        String.format(
            Locale.ROOT,
            "out of memory on %s: %,d bytes needed for %s, %s; %s",
            device.name(),
            bytes,
            purpose,
            driver.memory(),
            HELP),
        e);
  }

  /**
   * Closes all objects of the context that are still open, the latest first, and releases the
   * context.
   */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    requireOwner();
    List<Runnable> steps = new ArrayList<>();
    // The device may still be copying from and to pinned memory.
    for (CudaObject object : open) {
      if (object instanceof CudaStream work) {
        steps.add(work::synchronize);
      }
    }
    List.copyOf(open).reversed().forEach(object -> steps.add(object::close));
    steps.add(memory::freeIdle);
    steps.add(() -> closed = true);
    steps.add(arena::close);
    steps.add(() -> driver.releaseContext(device.handle()));
    CudaException failure = null;
    for (Runnable step : steps) {
      try {
        step.run();
      } catch (CudaException e) {
        failure = e;
      }
    }
    if (failure != null && !driver.isPoisoned()) {
      throw failure;
    }
  }
}
