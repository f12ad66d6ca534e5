package dev.laco.backend.cuda;

import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/**
 * The part of the CUDA driver API that the backend uses. Handles and device addresses are {@code
 * long}s; a {@link MemorySegment} is always host memory. Calls that take a stream return before the
 * work is done. Every method throws {@link CudaException} where the driver reports an error, which
 * may be one of earlier work.
 */
interface CudaDriver {
  /** {@code CU_DEVICE_ATTRIBUTE_CLOCK_RATE}, kHz. */
  int CLOCK_RATE = 13;

  /** {@code CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT}. */
  int MULTIPROCESSORS = 16;

  /** {@code CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE}, kHz. */
  int MEMORY_CLOCK_RATE = 36;

  /** {@code CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH}, bits. */
  int MEMORY_BUS_WIDTH = 37;

  /** {@code CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR}. */
  int CAPABILITY_MAJOR = 75;

  /** {@code CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR}. */
  int CAPABILITY_MINOR = 76;

  /**
   * Memory of the current context's device.
   *
   * @param free bytes
   * @param total bytes
   */
  record Memory(long free, long total) {
    @Override
    public String toString() {
      return String.format(Locale.ROOT, "%,d of %,d bytes of device memory free", free, total);
    }
  }

  CudaBinding binding();

  /** The driver library. */
  NativeLibrary library();

  /** True once a call has met an error after which the context is dead. */
  boolean isPoisoned();

  /** The CUDA version that the driver supports, 1000 x major + 10 x minor; needs no device. */
  int version();

  /** Must come before anything but {@link #version}. */
  void initialize();

  int deviceCount();

  int device(int ordinal);

  String name(int device);

  /** Bytes. */
  long totalMemory(int device);

  int attribute(int attribute, int device);

  /** The device's primary context, which all users in this process share and count. */
  long retainContext(int device);

  void releaseContext(int device);

  /** Makes a context the calling thread's current one. */
  void makeCurrent(long context);

  Memory memory();

  /** An address that is a multiple of 256; the memory's content is undefined. */
  long allocate(long bytes);

  void free(long address);

  /** Pinned memory: the device copies from and to it without the processor. */
  MemorySegment allocateHost(long bytes);

  void freeHost(MemorySegment memory);

  void copyToDevice(long to, MemorySegment from, long stream);

  void copyToHost(MemorySegment to, long from, long stream);

  void copy(long to, long from, long bytes, long stream);

  void zero(long address, long bytes, long stream);

  /** A stream that does not wait for the default one. */
  long createStream();

  void destroyStream(long stream);

  /** Waits until all work of the stream is done. */
  void synchronize(long stream);

  /** Lets the stream's later work wait for the event's last record. */
  void await(long stream, long event);

  /** An event that keeps no time. */
  long createEvent();

  void destroyEvent(long event);

  void record(long event, long stream);

  /** Waits until the work before the event's last record is done. */
  void synchronizeEvent(long event);

  /**
   * Loads a fatbin.
   *
   * @param image all its bytes
   */
  long loadModule(MemorySegment image);

  void unloadModule(long module);

  long function(long module, String name);

  /** Shared memory that the function has at every launch, beside what a launch gives it. */
  int staticSharedBytes(long function);

  /** Allows launches of the function with so much dynamic shared memory. */
  void allowSharedBytes(long function, int bytes);

  /** Names what is launched next: the error of a kernel is found by a later call. */
  void launching(String kernel);

  /**
   * Launches blocks of one dimension.
   *
   * @param extra {@code void *[5]}: the packed arguments and their size, as {@code cuLaunchKernel}
   *     describes
   */
  void launch(
      long function,
      int gridX,
      int gridY,
      int gridZ,
      int block,
      int sharedBytes,
      long stream,
      MemorySegment extra);
}
