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
 * Launches with blocks of several dimensions and with clusters of blocks, which no kernel of the
 * engine has. The driver is called through the JDK, whatever the binding is.
 */
final class ExtendedLaunch {
  /**
   * {@code CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void
   * **parameters, void **extra)}.
   */
  private static final MethodHandle LAUNCH = Downcalls.ofInt(ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);

  // CUlaunchConfig: extents of grid and block, shared memory, stream, attributes, their count.
  private static final long CONFIG_BYTES = 56;
  private static final long SHARED_BYTES = 24;
  private static final long STREAM = 32;
  private static final long ATTRIBUTES = 40;
  private static final long COUNT = 48;

  // CUlaunchAttribute: what it is, and 64 bytes of value.
  private static final long ATTRIBUTE_BYTES = 72;
  private static final long VALUE = 8;

  /** {@code CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION}. */
  private static final int CLUSTER = 4;

  private final MemorySegment launch;

  /**
   * @throws dev.laco.ResourceException if the driver is older than CUDA 11.8
   */
  ExtendedLaunch(NativeLibrary driver) {
    this.launch = driver.function("cuLaunchKernelEx");
  }

  /** Queues a launch; {@link Dim3#ONE} for no clusters. */
  void run(
      long function,
      Dim3 grid,
      Dim3 block,
      Dim3 cluster,
      int sharedBytes,
      CudaStream stream,
      MemorySegment extra) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment config = arena.allocate(CONFIG_BYTES, JAVA_LONG.byteAlignment());
      put(config, 0, grid);
      put(config, 12, block);
      config.set(JAVA_INT, SHARED_BYTES, sharedBytes);
      config.set(JAVA_LONG, STREAM, stream.handle());
      if (!cluster.equals(Dim3.ONE)) {
        MemorySegment attribute = arena.allocate(ATTRIBUTE_BYTES, JAVA_LONG.byteAlignment());
        attribute.set(JAVA_INT, 0, CLUSTER);
        put(attribute, VALUE, cluster);
        config.set(ADDRESS, ATTRIBUTES, attribute);
        config.set(JAVA_INT, COUNT, 1);
      }
      int status =
          Downcalls.call(
              () -> (int) LAUNCH.invokeExact(launch, config, function, MemorySegment.NULL, extra));
      if (status != 0) {
        throw new CudaException("cuLaunchKernelEx", status, "error", "clusters " + cluster);
      }
    }
  }

  private static void put(MemorySegment to, long at, Dim3 extents) {
    to.set(JAVA_INT, at, extents.x());
    to.set(JAVA_INT, at + 4, extents.y());
    to.set(JAVA_INT, at + 8, extents.z());
  }
}
