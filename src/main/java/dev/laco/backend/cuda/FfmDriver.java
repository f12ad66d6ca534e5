package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.CudaBinding;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.function.ToIntFunction;

/** The driver, called through the JDK's foreign functions. */
final class FfmDriver extends CheckedDriver {
  private final LibCuda cuda;

  /**
   * Binds the functions of a driver library.
   *
   * @throws dev.laco.ResourceException if the library lacks a function
   */
  FfmDriver(NativeLibrary library) {
    super(CudaBinding.FFM, library);
    this.cuda = new LibCuda(library);
  }

  @Override
  String errorName(int status) {
    return text(out -> cuda.cuGetErrorName(status, out));
  }

  @Override
  String errorText(int status) {
    return text(out -> cuda.cuGetErrorString(status, out));
  }

  @Override
  public int version() {
    return outInt("cuDriverGetVersion", cuda::cuDriverGetVersion);
  }

  @Override
  public void initialize() {
    check("cuInit", cuda.cuInit(0));
  }

  @Override
  public int deviceCount() {
    return outInt("cuDeviceGetCount", cuda::cuDeviceGetCount);
  }

  @Override
  public int device(int ordinal) {
    return outInt("cuDeviceGet", out -> cuda.cuDeviceGet(out, ordinal));
  }

  @Override
  public String name(int device) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocate(NAME_LENGTH);
      check("cuDeviceGetName", cuda.cuDeviceGetName(name, NAME_LENGTH, device));
      return name.getString(0);
    }
  }

  @Override
  public long totalMemory(int device) {
    return outLong("cuDeviceTotalMem", out -> cuda.cuDeviceTotalMem(out, device));
  }

  @Override
  public int attribute(int attribute, int device) {
    return outInt("cuDeviceGetAttribute", out -> cuda.cuDeviceGetAttribute(out, attribute, device));
  }

  @Override
  public long retainContext(int device) {
    return outLong("cuDevicePrimaryCtxRetain", out -> cuda.cuDevicePrimaryCtxRetain(out, device));
  }

  @Override
  public void releaseContext(int device) {
    check("cuDevicePrimaryCtxRelease", cuda.cuDevicePrimaryCtxRelease(device));
  }

  @Override
  public void makeCurrent(long context) {
    check("cuCtxSetCurrent", cuda.cuCtxSetCurrent(context));
  }

  @Override
  public Memory memory() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment free = arena.allocate(JAVA_LONG);
      MemorySegment total = arena.allocate(JAVA_LONG);
      check("cuMemGetInfo", cuda.cuMemGetInfo(free, total));
      return new Memory(free.get(JAVA_LONG, 0), total.get(JAVA_LONG, 0));
    }
  }

  @Override
  public long allocate(long bytes) {
    return outLong("cuMemAlloc", out -> cuda.cuMemAlloc(out, bytes));
  }

  @Override
  public void free(long address) {
    check("cuMemFree", cuda.cuMemFree(address));
  }

  @Override
  public MemorySegment allocateHost(long bytes) {
    long address = outLong("cuMemAllocHost", out -> cuda.cuMemAllocHost(out, bytes));
    return MemorySegment.ofAddress(address).reinterpret(bytes);
  }

  @Override
  public void freeHost(MemorySegment memory) {
    check("cuMemFreeHost", cuda.cuMemFreeHost(memory));
  }

  @Override
  public void copyToDevice(long to, MemorySegment from, long stream) {
    check("cuMemcpyHtoDAsync", cuda.cuMemcpyHtoDAsync(to, from, from.byteSize(), stream));
  }

  @Override
  public void copyToHost(MemorySegment to, long from, long stream) {
    check("cuMemcpyDtoHAsync", cuda.cuMemcpyDtoHAsync(to, from, to.byteSize(), stream));
  }

  @Override
  public void copy(long to, long from, long bytes, long stream) {
    check("cuMemcpyDtoDAsync", cuda.cuMemcpyDtoDAsync(to, from, bytes, stream));
  }

  @Override
  public void zero(long address, long bytes, long stream) {
    check("cuMemsetD8Async", cuda.cuMemsetD8Async(address, (byte) 0, bytes, stream));
  }

  @Override
  public long createStream() {
    return outLong("cuStreamCreate", out -> cuda.cuStreamCreate(out, STREAM_NON_BLOCKING));
  }

  @Override
  public void destroyStream(long stream) {
    check("cuStreamDestroy", cuda.cuStreamDestroy(stream));
  }

  @Override
  public void synchronize(long stream) {
    check("cuStreamSynchronize", cuda.cuStreamSynchronize(stream));
  }

  @Override
  public void await(long stream, long event) {
    check("cuStreamWaitEvent", cuda.cuStreamWaitEvent(stream, event, 0));
  }

  @Override
  public long createEvent() {
    return outLong("cuEventCreate", out -> cuda.cuEventCreate(out, EVENT_DISABLE_TIMING));
  }

  @Override
  public void destroyEvent(long event) {
    check("cuEventDestroy", cuda.cuEventDestroy(event));
  }

  @Override
  public void record(long event, long stream) {
    check("cuEventRecord", cuda.cuEventRecord(event, stream));
  }

  @Override
  public void synchronizeEvent(long event) {
    check("cuEventSynchronize", cuda.cuEventSynchronize(event));
  }

  @Override
  public long loadModule(MemorySegment image) {
    try (JitLog log = new JitLog();
        Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(JAVA_LONG);
      int[] options = log.options();
      check(
          "cuModuleLoadDataEx",
          cuda.cuModuleLoadDataEx(
              out, image, options.length, arena.allocateFrom(JAVA_INT, options), log.values()),
          log);
      return out.get(JAVA_LONG, 0);
    }
  }

  @Override
  public void unloadModule(long module) {
    check("cuModuleUnload", cuda.cuModuleUnload(module));
  }

  @Override
  public long function(long module, String name) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment symbol = arena.allocateFrom(name);
      return outLong("cuModuleGetFunction", out -> cuda.cuModuleGetFunction(out, module, symbol));
    }
  }

  @Override
  public int staticSharedBytes(long function) {
    return outInt(
        "cuFuncGetAttribute", out -> cuda.cuFuncGetAttribute(out, STATIC_SHARED_BYTES, function));
  }

  @Override
  public void allowSharedBytes(long function, int bytes) {
    check("cuFuncSetAttribute", cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED_BYTES, bytes));
  }

  @Override
  public void launch(
      long function,
      int gridX,
      int gridY,
      int gridZ,
      int block,
      int sharedBytes,
      long stream,
      MemorySegment extra) {
    check(
        "cuLaunchKernel",
        cuda.cuLaunchKernel(
            function,
            gridX,
            gridY,
            gridZ,
            block,
            1,
            1,
            sharedBytes,
            stream,
            MemorySegment.NULL,
            extra));
  }

  /**
   * Calls a function that writes an int to the address that is its argument, and returns that int.
   */
  private int outInt(String call, ToIntFunction<MemorySegment> function) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(JAVA_INT);
      check(call, function.applyAsInt(out));
      return out.get(JAVA_INT, 0);
    }
  }

  /** As {@link #outInt}, for a {@code size_t}, an address or a handle. */
  private long outLong(String call, ToIntFunction<MemorySegment> function) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(JAVA_LONG);
      check(call, function.applyAsInt(out));
      return out.get(JAVA_LONG, 0);
    }
  }

  /** As {@link #outInt}, for a string; empty if the function fails. */
  private static String text(ToIntFunction<MemorySegment> function) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ADDRESS);
      return function.applyAsInt(out) == 0
          ? out.get(ADDRESS, 0).reinterpret(Long.MAX_VALUE).getString(0)
          : "";
    }
  }
}
