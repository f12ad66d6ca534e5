package dev.laco.cli;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Signals that end the process: SIGHUP, SIGINT, SIGTERM. */
final class InterruptSignals {
  /** {@code sighandler_t signal(int signum, sighandler_t handler)}. */
  private static final MethodHandle SIGNAL = Downcalls.ofAddress(JAVA_INT, ADDRESS);

  private static final int[] NUMBERS = {1, 2, 15};

  private InterruptSignals() {}

  /**
   * The next one kills the process at once. The JVM would pay no attention to it while shutdown
   * hooks run.
   */
  static void nextKills() {
    MemorySegment function = CLibrary.function("signal");
    for (int number : NUMBERS) {
      try {
        // SIG_DFL is the null pointer.
        MemorySegment _ = (MemorySegment) SIGNAL.invokeExact(function, number, MemorySegment.NULL);
      } catch (Throwable unexpected) {
        throw new AssertionError(unexpected);
      }
    }
  }
}
