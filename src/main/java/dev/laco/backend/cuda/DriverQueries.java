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
 * What the driver tells of kernels and devices that only measurements ask for. The driver is called
 * through the JDK, whatever the binding is.
 */
final class DriverQueries {
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

  /** {@code CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device)}. */
  private static final MethodHandle BUS_ID = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_INT);

  private static final int BUS_ID_LENGTH = 32;

  private final MemorySegment busId;
  private final MemorySegment attribute;
  private final MemorySegment blocks;

  DriverQueries(NativeLibrary driver) {
    busId = driver.function("cuDeviceGetPCIBusId");
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

  /** Where a device is, {@code 0000:17:00.0}. */
  String busId(int device) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment id = arena.allocate(BUS_ID_LENGTH);
      int status = Downcalls.call(() -> (int) BUS_ID.invokeExact(busId, id, BUS_ID_LENGTH, device));
      check("cuDeviceGetPCIBusId", status);
      return id.getString(0);
    }
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
      check(name, status);
      return out.get(JAVA_INT, 0);
    }
  }

  private static void check(String call, int status) {
    if (status != 0) {
      throw new CudaException(call, status, "error", "while asking about a kernel or a device");
    }
  }
}
