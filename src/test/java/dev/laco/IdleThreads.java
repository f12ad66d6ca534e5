package dev.laco;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Map;

/** Lets idle threads of native libraries sleep in tests. */
public final class IdleThreads {
  /**
   * What {@code scripts/common.sh} exports, but that threads do not spin at all at barriers: two
   * processes of tests share the processor, where spinning took a quarter of its time.
   */
  public static final Map<String, String> VARIABLES =
      Map.of("OMP_WAIT_POLICY", "passive", "GOMP_SPINCOUNT", "0", "OPENBLAS_THREAD_TIMEOUT", "4");

  /** {@code int setenv(const char *name, const char *value, int overwrite)}. */
  private static final MethodHandle SETENV = Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT);

  private IdleThreads() {}

  /** Sets a variable of this process. */
  static void set(String name, String value) {
    MemorySegment setenv = CLibrary.function("setenv");
    try (Arena arena = Arena.ofConfined()) {
      int status =
          (int) SETENV.invokeExact(setenv, arena.allocateFrom(name), arena.allocateFrom(value), 1);
      if (status != 0) {
        throw new IllegalStateException("setenv " + name + " failed");
      }
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }
}
