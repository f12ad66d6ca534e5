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
 * The error number of the C library after a call: handles of {@link Downcalls#ofIntAndErrno} write
 * the number into a segment of {@link #allocate}.
 */
public final class Errno {
  private static final long MAX_MESSAGE = 4096;

  private static final StructLayout LAYOUT = Linker.Option.captureStateLayout();
  private static final VarHandle VALUE = LAYOUT.varHandle(PathElement.groupElement("errno"));

  /** {@code char *strerror(int errnum)}. */
  private static final MethodHandle STRERROR = Downcalls.ofAddress(JAVA_INT);

  private Errno() {}

  /** Memory for the error number of a call. */
  public static MemorySegment allocate(Arena arena) {
    return arena.allocate(LAYOUT);
  }

  /** The error number of a call; it has no meaning if the call did not fail. */
  public static int of(MemorySegment errno) {
    return (int) VALUE.get(errno, 0L);
  }

  /** The C library's text for an error number ({@code strerror}). */
  public static String message(int errno) {
    MemorySegment strerror = CLibrary.function("strerror");
    MemorySegment message =
        Downcalls.call(() -> (MemorySegment) STRERROR.invokeExact(strerror, errno));
    return message.reinterpret(MAX_MESSAGE).getString(0);
  }
}
