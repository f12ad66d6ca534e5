package dev.laco.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;

/** The functions of {@code ceiling.cpp}, which {@code bench/run} compiles. */
final class NativeCeiling {
  private static final SymbolLookup LIBRARY =
      SymbolLookup.libraryLookup(
          Path.of(System.getProperty("laco.bench.native", "libceiling.so")), Arena.global());

  /** {@code void bench_nothing(void)}. */
  static final MethodHandle NOTHING = downcall("bench_nothing", FunctionDescriptor.ofVoid());

  /** {@code void bench_nothing(void)}, without the safepoint transition. */
  static final MethodHandle NOTHING_CRITICAL =
      downcall("bench_nothing", FunctionDescriptor.ofVoid(), Linker.Option.critical(false));

  /**
   * {@code int32_t bench_arguments(const void *, int32_t, int64_t, const void *, const void *,
   * const void *, int64_t)}: the parameters of the kernel for {@code mix}.
   */
  static final MethodHandle ARGUMENTS =
      downcall(
          "bench_arguments",
          FunctionDescriptor.of(
              JAVA_INT, ADDRESS, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG));

  private static final MemoryLayout[] COPY = {ADDRESS, ADDRESS, JAVA_LONG, JAVA_INT};

  /** {@code void bench_copy(char *to, const char *from, int64_t bytes, int32_t threads)}. */
  private static final MethodHandle COPY_LIBC =
      downcall("bench_copy", FunctionDescriptor.ofVoid(COPY));

  /** {@code void bench_copy_streaming(…)}, the same arguments. */
  private static final MethodHandle COPY_STREAMING =
      downcall("bench_copy_streaming", FunctionDescriptor.ofVoid(COPY));

  /** {@code int64_t bench_read(const char *from, int64_t bytes, int32_t threads)}. */
  private static final MethodHandle READ =
      downcall("bench_read", FunctionDescriptor.of(JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_INT));

  /**
   * {@code void bench_combine(char *to, const char *from, int64_t count, int64_t bytes, int32_t
   * threads)}.
   */
  private static final MethodHandle COMBINE =
      downcall(
          "bench_combine",
          FunctionDescriptor.ofVoid(ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_INT));

  private NativeCeiling() {}

  /** The C library's copy. */
  static void copy(MemorySegment to, MemorySegment from, long bytes, int threads) {
    try {
      COPY_LIBC.invokeExact(to, from, bytes, threads);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** A copy that stores past the caches. */
  static void copyStreaming(MemorySegment to, MemorySegment from, long bytes, int threads) {
    try {
      COPY_STREAMING.invokeExact(to, from, bytes, threads);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** Reads everything once. */
  static long read(MemorySegment from, long bytes, int threads) {
    try {
      return (long) READ.invokeExact(from, bytes, threads);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** Reads {@code count} blocks of {@code bytes} each and writes one. */
  static void combine(MemorySegment to, MemorySegment from, long count, long bytes, int threads) {
    try {
      COMBINE.invokeExact(to, from, count, bytes, threads);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  private static MethodHandle downcall(
      String name, FunctionDescriptor type, Linker.Option... options) {
    return Linker.nativeLinker().downcallHandle(LIBRARY.findOrThrow(name), type, options);
  }
}
