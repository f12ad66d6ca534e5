package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.charset.StandardCharsets;
import jcuda.NativePointerObject;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/**
 * The driver, called through JCuda. JCuda wraps every handle and address in an object; the methods
 * here take and return the {@code long} inside.
 *
 * <p>JCuda's own exceptions are disabled, since they have the name of an error but not its status
 * code. Every status is checked here instead.
 */
final class JcudaDriver extends CheckedDriver {
  private static final Pointer NO_PARAMETERS = new Pointer();

  /**
   * The field of JCuda's objects that holds the handle or address, which JCuda's native library
   * reads and writes.
   */
  private static final VarHandle NATIVE_POINTER = nativePointer();

  // These objects are used for every launch, so that a launch allocates nothing.
  private final CUfunction launched = new CUfunction();
  private final CUstream launchStream = new CUstream();
  private final Pointer launchExtra = new Pointer();

  /**
   * Loads the native library of JCuda.
   *
   * @param library the driver library; as it is loaded, the dynamic linker gives it to JCuda's
   *     library by its name
   * @throws ResourceException if JCuda's library does not load, or the driver lacks a function
   */
  JcudaDriver(NativeLibrary library) {
    super(CudaBinding.JCUDA, library);
    // A function that the driver lacks must be found here: a call through JNI would end the
    // process.
    new LibCuda(library);
    JcudaLibraries.load("JCuda's driver binding", () -> JCudaDriver.setExceptionsEnabled(false));
  }

  @Override
  String errorName(int status) {
    String[] name = {""};
    return JCudaDriver.cuGetErrorName(status, name) == 0 ? name[0] : "";
  }

  @Override
  String errorText(int status) {
    String[] text = {""};
    return JCudaDriver.cuGetErrorString(status, text) == 0 ? text[0] : "";
  }

  @Override
  public int version() {
    int[] version = new int[1];
    check("cuDriverGetVersion", JCudaDriver.cuDriverGetVersion(version));
    return version[0];
  }

  @Override
  public void initialize() {
    check("cuInit", JCudaDriver.cuInit(0));
  }

  @Override
  public int deviceCount() {
    int[] count = new int[1];
    check("cuDeviceGetCount", JCudaDriver.cuDeviceGetCount(count));
    return count[0];
  }

  @Override
  public int device(int ordinal) {
    CUdevice device = new CUdevice();
    check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, ordinal));
    return (int) value(device);
  }

  @Override
  public String name(int device) {
    byte[] name = new byte[NAME_LENGTH];
    check(
        "cuDeviceGetName",
        JCudaDriver.cuDeviceGetName(name, NAME_LENGTH, at(new CUdevice(), device)));
    int length = 0;
    while (length < name.length && name[length] != 0) {
      length++;
    }
    return new String(name, 0, length, StandardCharsets.UTF_8);
  }

  @Override
  public long totalMemory(int device) {
    long[] bytes = new long[1];
    check("cuDeviceTotalMem", JCudaDriver.cuDeviceTotalMem(bytes, at(new CUdevice(), device)));
    return bytes[0];
  }

  @Override
  public int attribute(int attribute, int device) {
    int[] value = new int[1];
    check(
        "cuDeviceGetAttribute",
        JCudaDriver.cuDeviceGetAttribute(value, attribute, at(new CUdevice(), device)));
    return value[0];
  }

  @Override
  public long retainContext(int device) {
    CUcontext context = new CUcontext();
    check(
        "cuDevicePrimaryCtxRetain",
        JCudaDriver.cuDevicePrimaryCtxRetain(context, at(new CUdevice(), device)));
    return value(context);
  }

  @Override
  public void releaseContext(int device) {
    check(
        "cuDevicePrimaryCtxRelease",
        JCudaDriver.cuDevicePrimaryCtxRelease(at(new CUdevice(), device)));
  }

  @Override
  public void makeCurrent(long context) {
    check("cuCtxSetCurrent", JCudaDriver.cuCtxSetCurrent(at(new CUcontext(), context)));
  }

  @Override
  public Memory memory() {
    long[] free = new long[1];
    long[] total = new long[1];
    check("cuMemGetInfo", JCudaDriver.cuMemGetInfo(free, total));
    return new Memory(free[0], total[0]);
  }

  @Override
  public long allocate(long bytes) {
    CUdeviceptr address = new CUdeviceptr();
    check("cuMemAlloc", JCudaDriver.cuMemAlloc(address, bytes));
    return value(address);
  }

  @Override
  public void free(long address) {
    check("cuMemFree", JCudaDriver.cuMemFree(at(new CUdeviceptr(), address)));
  }

  @Override
  public MemorySegment allocateHost(long bytes) {
    Pointer memory = new Pointer();
    check("cuMemAllocHost", JCudaDriver.cuMemAllocHost(memory, bytes));
    return MemorySegment.ofAddress(value(memory)).reinterpret(bytes);
  }

  @Override
  public void freeHost(MemorySegment memory) {
    check("cuMemFreeHost", JCudaDriver.cuMemFreeHost(at(new Pointer(), memory.address())));
  }

  @Override
  public void copyToDevice(long to, MemorySegment from, long stream) {
    check(
        "cuMemcpyHtoDAsync",
        JCudaDriver.cuMemcpyHtoDAsync(
            at(new CUdeviceptr(), to),
            at(new Pointer(), from.address()),
            from.byteSize(),
            at(new CUstream(), stream)));
  }

  @Override
  public void copyToHost(MemorySegment to, long from, long stream) {
    check(
        "cuMemcpyDtoHAsync",
        JCudaDriver.cuMemcpyDtoHAsync(
            at(new Pointer(), to.address()),
            at(new CUdeviceptr(), from),
            to.byteSize(),
            at(new CUstream(), stream)));
  }

  @Override
  public void copy(long to, long from, long bytes, long stream) {
    check(
        "cuMemcpyDtoDAsync",
        JCudaDriver.cuMemcpyDtoDAsync(
            at(new CUdeviceptr(), to),
            at(new CUdeviceptr(), from),
            bytes,
            at(new CUstream(), stream)));
  }

  @Override
  public void zero(long address, long bytes, long stream) {
    check(
        "cuMemsetD8Async",
        JCudaDriver.cuMemsetD8Async(
            at(new CUdeviceptr(), address), (byte) 0, bytes, at(new CUstream(), stream)));
  }

  @Override
  public long createStream() {
    CUstream stream = new CUstream();
    check("cuStreamCreate", JCudaDriver.cuStreamCreate(stream, STREAM_NON_BLOCKING));
    return value(stream);
  }

  @Override
  public void destroyStream(long stream) {
    check("cuStreamDestroy", JCudaDriver.cuStreamDestroy(at(new CUstream(), stream)));
  }

  @Override
  public void synchronize(long stream) {
    check("cuStreamSynchronize", JCudaDriver.cuStreamSynchronize(at(new CUstream(), stream)));
  }

  @Override
  public void await(long stream, long event) {
    check(
        "cuStreamWaitEvent",
        JCudaDriver.cuStreamWaitEvent(at(new CUstream(), stream), at(new CUevent(), event), 0));
  }

  @Override
  public long createEvent() {
    CUevent event = new CUevent();
    check("cuEventCreate", JCudaDriver.cuEventCreate(event, EVENT_DISABLE_TIMING));
    return value(event);
  }

  @Override
  public void destroyEvent(long event) {
    check("cuEventDestroy", JCudaDriver.cuEventDestroy(at(new CUevent(), event)));
  }

  @Override
  public void record(long event, long stream) {
    check(
        "cuEventRecord",
        JCudaDriver.cuEventRecord(at(new CUevent(), event), at(new CUstream(), stream)));
  }

  @Override
  public void synchronizeEvent(long event) {
    check("cuEventSynchronize", JCudaDriver.cuEventSynchronize(at(new CUevent(), event)));
  }

  @Override
  public long loadModule(MemorySegment image) {
    CUmodule module = new CUmodule();
    try (JitLog log = new JitLog()) {
      int[] options = log.options();
      check(
          "cuModuleLoadDataEx",
          JCudaDriver.cuModuleLoadDataEx(
              module,
              at(new Pointer(), image.address()),
              options.length,
              options,
              at(new Pointer(), log.values().address())),
          log);
    }
    return value(module);
  }

  @Override
  public void unloadModule(long module) {
    check("cuModuleUnload", JCudaDriver.cuModuleUnload(at(new CUmodule(), module)));
  }

  @Override
  public long function(long module, String name) {
    CUfunction function = new CUfunction();
    check(
        "cuModuleGetFunction",
        JCudaDriver.cuModuleGetFunction(function, at(new CUmodule(), module), name));
    return value(function);
  }

  @Override
  public int staticSharedBytes(long function) {
    int[] value = new int[1];
    check(
        "cuFuncGetAttribute",
        JCudaDriver.cuFuncGetAttribute(value, STATIC_SHARED_BYTES, at(new CUfunction(), function)));
    return value[0];
  }

  @Override
  public void allowSharedBytes(long function, int bytes) {
    check(
        "cuFuncSetAttribute",
        JCudaDriver.cuFuncSetAttribute(
            at(new CUfunction(), function), MAX_DYNAMIC_SHARED_BYTES, bytes));
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
        JCudaDriver.cuLaunchKernel(
            at(launched, function),
            gridX,
            gridY,
            gridZ,
            block,
            1,
            1,
            sharedBytes,
            at(launchStream, stream),
            NO_PARAMETERS,
            at(launchExtra, extra.address())));
  }

  /** Puts a handle or an address into one of JCuda's objects. */
  static <T extends NativePointerObject> T at(T object, long value) {
    NATIVE_POINTER.set(object, value);
    return object;
  }

  private static long value(NativePointerObject object) {
    return (long) NATIVE_POINTER.get(object);
  }

  private static VarHandle nativePointer() {
    try {
      return MethodHandles.privateLookupIn(NativePointerObject.class, MethodHandles.lookup())
          .findVarHandle(NativePointerObject.class, "nativePointer", long.class);
    } catch (ReflectiveOperationException e) {
      throw new LinkageError("another JCuda than we were built for", e);
    }
  }
}
