package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * What the driver tells of a kernel that only measurements ask for. The driver is called through
 * the JDK, whatever the binding is.
 */
final class FunctionQueries {
  /** {@code CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES}. */
  private static final int LOCAL_BYTES = 3;

  /** {@code CU_FUNC_ATTRIBUTE_NUM_REGS}. */
  private static final int REGISTERS = 4;

  /**
   * {@code CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction
   * function)}.
   */
  private static final MethodHandle ATTRIBUTE = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_LONG);

  /**
   * {@code CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
   * int threads, size_t sharedBytes)}.
   */
  private static final MethodHandle BLOCKS =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_INT, JAVA_LONG);

  private final MemorySegment attribute;
  private final MemorySegment blocks;

  FunctionQueries(NativeLibrary driver) {
    attribute = driver.function("cuFuncGetAttribute");
    blocks = driver.function("cuOccupancyMaxActiveBlocksPerMultiprocessor");
  }

  /**
   * As {@link KernelRunner#resources}.
   *
   * @param mostThreads that a multiprocessor can have
   */
  KernelResources resources(long function, Dim3 block, int sharedBytes, int mostThreads) {
    int threads = Math.toIntExact(block.count());
    int resident =
        ask(
            "cuOccupancyMaxActiveBlocksPerMultiprocessor",
            out -> (int) BLOCKS.invokeExact(blocks, out, function, threads, (long) sharedBytes));
    return new KernelResources(
        attribute(REGISTERS, function),
        attribute(LOCAL_BYTES, function),
        attribute(CheckedDriver.STATIC_SHARED_BYTES, function) + sharedBytes,
        resident,
        (double) resident * threads / mostThreads);
  }

  private int attribute(int which, long function) {
    return ask(
        "cuFuncGetAttribute", out -> (int) ATTRIBUTE.invokeExact(attribute, out, which, function));
  }

  /** A call that writes an int. */
  private interface Call {
    int run(MemorySegment out) throws Throwable;
  }

  private static int ask(String name, Call call) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(JAVA_INT);
      int status = Downcalls.call(() -> call.run(out));
      if (status != 0) {
        throw new CudaException(name, status, "error", "while asking about a kernel");
      }
      return out.get(JAVA_INT, 0);
    }
  }
}
