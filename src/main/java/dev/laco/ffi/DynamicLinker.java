package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The system's dynamic linker, called directly because {@link java.lang.foreign.SymbolLookup} hides
 * why a library does not load.
 */
final class DynamicLinker {
  private static final int RTLD_NOW = 2;
  private static final long MAX_MESSAGE = 4096;

  /** {@code void *dlopen(const char *path, int flags)}. */
  private static final MethodHandle DLOPEN = Downcalls.ofAddress(ADDRESS, JAVA_INT);

  /** {@code void *dlsym(void *library, const char *symbol)}. */
  private static final MethodHandle DLSYM = Downcalls.ofAddress(ADDRESS, ADDRESS);

  /** {@code char *dlerror(void)}. */
  private static final MethodHandle DLERROR = Downcalls.ofAddress();

  private DynamicLinker() {}

  /**
   * A handle of the library.
   *
   * @throws IOException if it does not load; the message says why
   */
  static MemorySegment open(String path) throws IOException {
    MemorySegment dlopen = CLibrary.function("dlopen");
    // Before the call: looking up a function forgets the error.
    MemorySegment dlerror = CLibrary.function("dlerror");
    MemorySegment library;
    MemorySegment error;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(path);
      library = Downcalls.call(() -> (MemorySegment) DLOPEN.invokeExact(dlopen, name, RTLD_NOW));
      error = Downcalls.call(() -> (MemorySegment) DLERROR.invokeExact(dlerror));
    }
    if (library.equals(MemorySegment.NULL)) {
      throw new IOException(
          error.equals(MemorySegment.NULL)
              ? "unknown reason"
              : error.reinterpret(MAX_MESSAGE).getString(0));
    }
    return library;
  }

  /** The symbol's address, {@link MemorySegment#NULL} if the library has none of that name. */
  static MemorySegment symbol(MemorySegment library, String symbol) {
    MemorySegment dlsym = CLibrary.function("dlsym");
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(symbol);
      return Downcalls.call(() -> (MemorySegment) DLSYM.invokeExact(dlsym, library, name));
    }
  }
}
