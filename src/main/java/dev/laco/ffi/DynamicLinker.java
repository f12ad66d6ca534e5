package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The system's dynamic linker, called directly because {@link java.lang.foreign.SymbolLookup} hides
 * why a library does not load.
 */
final class DynamicLinker {
  private static final int RTLD_NOW = 2;
  private static final long MAX_MESSAGE = 4096;

  private static final MemorySegment DLOPEN_ADDRESS = address("dlopen");
  private static final MemorySegment DLSYM_ADDRESS = address("dlsym");
  private static final MemorySegment DLERROR_ADDRESS = address("dlerror");

  /** {@code void *dlopen(const char *path, int flags)}. */
  private static final MethodHandle DLOPEN = Downcalls.ofAddress(ADDRESS, JAVA_INT);

  /** {@code void *dlsym(void *library, const char *symbol)}. */
  private static final MethodHandle DLSYM = Downcalls.ofAddress(ADDRESS, ADDRESS);

  /** {@code char *dlerror(void)}. */
  private static final MethodHandle DLERROR = Downcalls.ofAddress();

  private DynamicLinker() {}

  /**
   * A handle of the library, {@link MemorySegment#NULL} if it does not load: see {@link #error}.
   */
  static MemorySegment open(String path) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(path);
      try {
        return (MemorySegment) DLOPEN.invokeExact(DLOPEN_ADDRESS, name, RTLD_NOW);
      } catch (Throwable unexpected) {
        throw new AssertionError(unexpected);
      }
    }
  }

  /** The symbol's address, {@link MemorySegment#NULL} if the library has none of that name. */
  static MemorySegment symbol(MemorySegment library, String symbol) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(symbol);
      try {
        return (MemorySegment) DLSYM.invokeExact(DLSYM_ADDRESS, library, name);
      } catch (Throwable unexpected) {
        throw new AssertionError(unexpected);
      }
    }
  }

  /** Why the last call of this thread failed. */
  static String error() {
    MemorySegment message;
    try {
      message = (MemorySegment) DLERROR.invokeExact(DLERROR_ADDRESS);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
    return message.equals(MemorySegment.NULL)
        ? "unknown reason"
        : message.reinterpret(MAX_MESSAGE).getString(0);
  }

  private static MemorySegment address(String symbol) {
    return Linker.nativeLinker().defaultLookup().findOrThrow(symbol);
  }
}
