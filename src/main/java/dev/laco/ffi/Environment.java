package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** The process's environment as native libraries see it when they are loaded. */
public final class Environment {
  /** {@code int setenv(const char *name, const char *value, int overwrite)}. */
  private static final MethodHandle SETENV = Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT);

  private Environment() {}

  /** Sets a variable unless the user has set it. */
  public static void setDefault(String name, String value) {
    MemorySegment setenv = CLibrary.function("setenv");
    int status;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment nameBytes = arena.allocateFrom(name);
      MemorySegment valueBytes = arena.allocateFrom(value);
      try {
        status = (int) SETENV.invokeExact(setenv, nameBytes, valueBytes, 0);
      } catch (Throwable unexpected) {
        throw new AssertionError(unexpected);
      }
    }
    if (status != 0) {
      throw new IllegalStateException("setenv " + name + " failed");
    }
  }
}
