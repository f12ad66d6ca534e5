package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;

/**
 * The error number of the C library, as a call left it: functions of {@link
 * Downcalls#ofIntAndErrno} write it into a segment of {@link #allocate}.
 */
public final class Errno {
  private static final long MAX_MESSAGE = 4096;

  private static final StructLayout LAYOUT = Linker.Option.captureStateLayout();
  private static final VarHandle VALUE = LAYOUT.varHandle(PathElement.groupElement("errno"));

  /** {@code char *strerror(int errnum)}. */
  private static final MethodHandle STRERROR = Downcalls.ofAddress(JAVA_INT);

  private Errno() {}

  /** Room for the error number of a call. */
  public static MemorySegment allocate(Arena arena) {
    return arena.allocate(LAYOUT);
  }

  /** The error number that a call left; without meaning if the call did not fail. */
  public static int of(MemorySegment errno) {
    return (int) VALUE.get(errno, 0L);
  }

  /** What the C library says of an error number. */
  public static String message(int errno) {
    MemorySegment strerror = CLibrary.function("strerror");
    MemorySegment message =
        Downcalls.call(() -> (MemorySegment) STRERROR.invokeExact(strerror, errno));
    return message.reinterpret(MAX_MESSAGE).getString(0);
  }
}
