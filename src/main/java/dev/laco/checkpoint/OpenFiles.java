package dev.laco.checkpoint;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ResourceException;
import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.Locale;

/** Checks how many files this process may have open at the same time ({@code ulimit -n}). */
final class OpenFiles {
  /** {@code int getrlimit(int resource, struct rlimit *limit)}. */
  private static final MethodHandle GETRLIMIT = Downcalls.ofInt(JAVA_INT, ADDRESS);

  private static final int RLIMIT_NOFILE = 7;

  /** Files that are open beside weights: jars, native libraries, files that are written. */
  private static final long OTHERS = 100;

  private OpenFiles() {}

  /**
   * Checks that all weight files of a model, and as many of the pruned model, can be open at the
   * same time.
   *
   * @throws ResourceException if they cannot; the message says which limit is needed
   */
  static void require(Path model, int weightFiles) {
    long needed = 2L * weightFiles + OTHERS;
    long limit = limit();
    if (weightFiles > 1 && Long.compareUnsigned(limit, needed) < 0) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s: has %d weight files; for that this process must be able to open %d files and may open %d: ulimit -n %d",
              model,
              weightFiles,
              needed,
              limit,
              needed));
    }
  }

  private static long limit() {
    MemorySegment getrlimit = CLibrary.function("getrlimit");
    try (Arena arena = Arena.ofConfined()) {
      // struct rlimit: the limit that holds, and the most to which it can be raised.
      MemorySegment limits = arena.allocate(JAVA_LONG, 2);
      int status =
          Downcalls.call(() -> (int) GETRLIMIT.invokeExact(getrlimit, RLIMIT_NOFILE, limits));
      return status == 0 ? limits.get(JAVA_LONG, 0) : Long.MAX_VALUE;
    }
  }
}
