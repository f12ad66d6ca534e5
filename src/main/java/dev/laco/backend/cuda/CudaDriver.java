package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/**
 * The part of the CUDA driver API that the backend uses. Handles and device addresses are {@code
 * long}s; a {@link MemorySegment} is always host memory. Methods that take a stream queue their
 * work and return. Every method throws {@link CudaException} if the driver reports an error, which
 * may be the error of a kernel that was launched earlier.
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

  /** Whether an error has occurred after which the context cannot be used any more. */
  boolean isPoisoned();

  /**
   * The newest CUDA version that the driver supports: 1000 x major + 10 x minor. May be called
   * before {@link #initialize}, and without a device.
   */
  int version();

  /** Initialises the driver; to be called before every other method but {@link #version}. */
  void initialize();

  int deviceCount();

  int device(int ordinal);

  String name(int device);

  /** Bytes of the memory of a device. */
  long totalMemory(int device);

  int attribute(int attribute, int device);

  /**
   * The device's primary context, which all users in this process share; the driver counts how
   * often it is retained.
   */
  long retainContext(int device);

  void releaseContext(int device);

  /** Makes a context the current one of the calling thread. */
  void makeCurrent(long context);

  Memory memory();

  /** Allocates device memory with undefined content. The address is a multiple of 256. */
  long allocate(long bytes);

  void free(long address);

  /** Allocates pinned host memory, which the device can read and write by itself. */
  MemorySegment allocateHost(long bytes);

  void freeHost(MemorySegment memory);

  void copyToDevice(long to, MemorySegment from, long stream);

  void copyToHost(MemorySegment to, long from, long stream);

  void copy(long to, long from, long bytes, long stream);

  void zero(long address, long bytes, long stream);

  /** A new stream that does not wait for the default stream. */
  long createStream();

  void destroyStream(long stream);

  /** Waits until all work of the stream is done. */
  void synchronize(long stream);

  /** Makes later work of the stream wait for the latest {@link #record} of the event. */
  void await(long stream, long event);

  /** A new event that measures no time. */
  long createEvent();

  void destroyEvent(long event);

  void record(long event, long stream);

  /** Waits for the work that its stream had before the latest {@link #record} of the event. */
  void synchronizeEvent(long event);

  /**
   * Loads a module.
   *
   * @param image the bytes of a fatbin
   */
  long loadModule(MemorySegment image);

  void unloadModule(long module);

  long function(long module, String name);

  /** Bytes of shared memory that the function has in addition to what a launch gives it. */
  int staticSharedBytes(long function);

  /** Allows the function to be launched with up to {@code bytes} of dynamic shared memory. */
  void allowSharedBytes(long function, int bytes);

  /**
   * Remembers the name of the kernel that is launched next, for the message of an error that a
   * later call reports.
   */
  void launching(String kernel);

  /**
   * Launches a kernel whose blocks have one dimension.
   *
   * @param extra {@code void *[5]}: address and size of the packed arguments, in the form that
   *     {@code cuLaunchKernel} describes
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
