package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * Calls the system's dynamic linker, since {@link java.lang.foreign.SymbolLookup} does not tell why
 * a library does not load.
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
   * Loads a library, and gives the linker's handle of it.
   *
   * @throws IOException if the library does not load; the message says why
   */
  static MemorySegment open(String path) throws IOException {
    MemorySegment dlopen = CLibrary.function("dlopen");
    // Looked up before the call: looking up a function clears the error.
    MemorySegment dlerror = CLibrary.function("dlerror");
    MemorySegment library;
    MemorySegment error;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = NativeName.of(path, arena);
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

  /**
   * The address of a symbol; {@link MemorySegment#NULL} if the library has no symbol of that name.
   */
  static MemorySegment symbol(MemorySegment library, String symbol) {
    MemorySegment dlsym = CLibrary.function("dlsym");
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(symbol);
      return Downcalls.call(() -> (MemorySegment) DLSYM.invokeExact(dlsym, library, name));
    }
  }
}
