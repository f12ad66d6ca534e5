package dev.laco.ffi;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import org.jspecify.annotations.Nullable;

/**
 * Makes handles of native functions. The first argument of a handle is the function's address. A
 * handle can therefore be a constant of a class, which makes calls fast, while the library is
 * chosen at run time.
 */
public final class Downcalls {
  private static final Linker LINKER = Linker.nativeLinker();
  private static final Linker.Option ERRNO = Linker.Option.captureCallState("errno");

  private Downcalls() {}

  /**
   * A call of a handle by {@link MethodHandle#invokeExact}, with the casts that it needs.
   *
   * @param <T> the type of the result
   */
  @FunctionalInterface
  public interface Call<T extends @Nullable Object> {
    /** Calls the function. */
    T run() throws Throwable;
  }

  /**
   * Makes a call. A native function throws nothing; an exception of the handle is a defect of the
   * caller, and becomes an {@link AssertionError}.
   */
  public static <T extends @Nullable Object> T call(Call<T> call) {
    try {
      return call.run();
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** A function that returns {@code int32_t}, mostly a status. */
  public static MethodHandle ofInt(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.of(ValueLayout.JAVA_INT, arguments));
  }

  /**
   * A function that returns {@code int32_t} and sets the error number of the C library. The number
   * is written into the handle's second argument, a segment of {@link Errno#allocate}.
   */
  public static MethodHandle ofIntAndErrno(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.of(ValueLayout.JAVA_INT, arguments), ERRNO);
  }

  /** As {@link #ofIntAndErrno}, for a function that returns {@code ssize_t}. */
  public static MethodHandle ofLongAndErrno(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.of(ValueLayout.JAVA_LONG, arguments), ERRNO);
  }

  /** A function that returns {@code int64_t} or {@code size_t}. */
  public static MethodHandle ofLong(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.of(ValueLayout.JAVA_LONG, arguments));
  }

  /** A function that returns a pointer. */
  public static MethodHandle ofAddress(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.of(ValueLayout.ADDRESS, arguments));
  }

  /** A function that returns nothing. */
  public static MethodHandle ofVoid(MemoryLayout... arguments) {
    return LINKER.downcallHandle(FunctionDescriptor.ofVoid(arguments));
  }
}
