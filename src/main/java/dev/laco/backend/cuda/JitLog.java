package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * What the driver's compiler of PTX says about an image that it does not take, as options of {@code
 * cuModuleLoadDataEx}.
 */
final class JitLog implements AutoCloseable {
  /** {@code CU_JIT_ERROR_LOG_BUFFER} and {@code CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES}. */
  private static final int[] OPTIONS = {5, 6};

  private static final long BYTES = 8 << 10;

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment text = arena.allocate(BYTES);
  private final MemorySegment values = arena.allocate(ADDRESS, OPTIONS.length);

  JitLog() {
    values.setAtIndex(ADDRESS, 0, text);
    values.setAtIndex(JAVA_LONG, 1, BYTES);
  }

  /** Keys. */
  int[] options() {
    return OPTIONS.clone();
  }

  /** A value of 8 bytes for each key. */
  MemorySegment values() {
    return values;
  }

  /** The error with the log in its message, if there is one. */
  CudaException explain(CudaException e) {
    String log = text.getString(0).strip().replaceAll("\\s*\\R\\s*", "; ");
    return log.isEmpty() ? e : e.about("the driver's compiler says: " + log);
  }

  @Override
  public void close() {
    arena.close();
  }
}
