package dev.laco.cli;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/** Signals that end the process: SIGHUP, SIGINT, SIGTERM. */
final class InterruptSignals {
  private static final int[] NUMBERS = {1, 2, 15};

  private InterruptSignals() {}

  /**
   * The next one kills the process at once. The JVM would pay no attention to it while shutdown
   * hooks run.
   */
  static void nextKills() {
    Linker linker = Linker.nativeLinker();
    MethodHandle signal =
        linker.downcallHandle(
            linker.defaultLookup().findOrThrow("signal"),
            FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
    for (int number : NUMBERS) {
      try {
        // SIG_DFL is the null pointer.
        MemorySegment _ = (MemorySegment) signal.invokeExact(number, MemorySegment.NULL);
      } catch (Throwable unexpected) {
        throw new AssertionError(unexpected);
      }
    }
  }
}
