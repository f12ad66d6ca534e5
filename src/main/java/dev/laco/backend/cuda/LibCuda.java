package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The functions of the driver, {@code libcuda.so.1}, that the backend calls. They are bound by
 * symbols with version suffixes, since the headers of CUDA 13 map some names without suffix to
 * other functions than those of CUDA 12. Each function returns a {@code CUresult}. Handles and
 * device addresses are {@code long}s, so that the host cannot dereference them.
 */
final class LibCuda {
  /** {@code CUresult cuInit(unsigned flags)}. */
  private static final MethodHandle INIT = Downcalls.ofInt(JAVA_INT);

  /** {@code CUresult cuDriverGetVersion(int *version)}. */
  private static final MethodHandle DRIVER_GET_VERSION = Downcalls.ofInt(ADDRESS);

  /** {@code CUresult cuGetErrorName(CUresult status, const char **name)}. */
  private static final MethodHandle GET_ERROR_NAME = Downcalls.ofInt(JAVA_INT, ADDRESS);

  /** {@code CUresult cuGetErrorString(CUresult status, const char **text)}. */
  private static final MethodHandle GET_ERROR_STRING = Downcalls.ofInt(JAVA_INT, ADDRESS);

  /** {@code CUresult cuDeviceGetCount(int *count)}. */
  private static final MethodHandle DEVICE_GET_COUNT = Downcalls.ofInt(ADDRESS);

  /** {@code CUresult cuDeviceGet(CUdevice *device, int ordinal)}. */
  private static final MethodHandle DEVICE_GET = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code CUresult cuDeviceGetName(char *name, int length, CUdevice device)}. */
  private static final MethodHandle DEVICE_GET_NAME = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_INT);

  /** {@code CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)}. */
  private static final MethodHandle DEVICE_TOTAL_MEM = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /**
   * {@code CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice
   * device)}.
   */
  private static final MethodHandle DEVICE_GET_ATTRIBUTE =
      Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_INT);

  /** {@code CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)}. */
  private static final MethodHandle DEVICE_PRIMARY_CTX_RETAIN = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)}. */
  private static final MethodHandle DEVICE_PRIMARY_CTX_RELEASE = Downcalls.ofInt(JAVA_INT);

  /** {@code CUresult cuCtxSetCurrent(CUcontext context)}. */
  private static final MethodHandle CTX_SET_CURRENT = Downcalls.ofInt(JAVA_LONG);

  /** {@code CUresult cuMemGetInfo_v2(size_t *free, size_t *total)}. */
  private static final MethodHandle MEM_GET_INFO = Downcalls.ofInt(ADDRESS, ADDRESS);

  /** {@code CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)}. */
  private static final MethodHandle MEM_ALLOC = Downcalls.ofInt(ADDRESS, JAVA_LONG);

  /** {@code CUresult cuMemFree_v2(CUdeviceptr address)}. */
  private static final MethodHandle MEM_FREE = Downcalls.ofInt(JAVA_LONG);

  /** {@code CUresult cuMemAllocHost_v2(void **memory, size_t bytes)}. */
  private static final MethodHandle MEM_ALLOC_HOST = Downcalls.ofInt(ADDRESS, JAVA_LONG);

  /** {@code CUresult cuMemFreeHost(void *memory)}. */
  private static final MethodHandle MEM_FREE_HOST = Downcalls.ofInt(ADDRESS);

  /**
   * {@code CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream
   * stream)}.
   */
  private static final MethodHandle MEMCPY_H_TO_D_ASYNC =
      Downcalls.ofInt(JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG);

  /**
   * {@code CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream
   * stream)}.
   */
  private static final MethodHandle MEMCPY_D_TO_H_ASYNC =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG);

  /**
   * {@code CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream
   * stream)}.
   */
  private static final MethodHandle MEMCPY_D_TO_D_ASYNC =
      Downcalls.ofInt(JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);

  /**
   * {@code CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value, size_t bytes,
   * CUstream stream)}.
   */
  private static final MethodHandle MEMSET_D8_ASYNC =
      Downcalls.ofInt(JAVA_LONG, JAVA_BYTE, JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuStreamCreate(CUstream *stream, unsigned flags)}. */
  private static final MethodHandle STREAM_CREATE = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code CUresult cuStreamDestroy_v2(CUstream stream)}. */
  private static final MethodHandle STREAM_DESTROY = Downcalls.ofInt(JAVA_LONG);

  /** {@code CUresult cuStreamSynchronize(CUstream stream)}. */
  private static final MethodHandle STREAM_SYNCHRONIZE = Downcalls.ofInt(JAVA_LONG);

  /** {@code CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)}. */
  private static final MethodHandle STREAM_WAIT_EVENT =
      Downcalls.ofInt(JAVA_LONG, JAVA_LONG, JAVA_INT);

  /** {@code CUresult cuEventCreate(CUevent *event, unsigned flags)}. */
  private static final MethodHandle EVENT_CREATE = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code CUresult cuEventDestroy_v2(CUevent event)}. */
  private static final MethodHandle EVENT_DESTROY = Downcalls.ofInt(JAVA_LONG);

  /** {@code CUresult cuEventRecord(CUevent event, CUstream stream)}. */
  private static final MethodHandle EVENT_RECORD = Downcalls.ofInt(JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuEventSynchronize(CUevent event)}. */
  private static final MethodHandle EVENT_SYNCHRONIZE = Downcalls.ofInt(JAVA_LONG);

  /**
   * {@code CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count,
   * CUjit_option *options, void **values)}.
   */
  private static final MethodHandle MODULE_LOAD_DATA_EX =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS);

  /** {@code CUresult cuModuleUnload(CUmodule module)}. */
  private static final MethodHandle MODULE_UNLOAD = Downcalls.ofInt(JAVA_LONG);

  /**
   * {@code CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)}.
   */
  private static final MethodHandle MODULE_GET_FUNCTION =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, ADDRESS);

  /**
   * {@code CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction
   * function)}.
   */
  private static final MethodHandle FUNC_GET_ATTRIBUTE =
      Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_LONG);

  /**
   * {@code CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int
   * value)}.
   */
  private static final MethodHandle FUNC_SET_ATTRIBUTE =
      Downcalls.ofInt(JAVA_LONG, JAVA_INT, JAVA_INT);

  /**
   * {@code CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned
   * gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream
   * stream, void **parameters, void **extra)}.
   */
  private static final MethodHandle LAUNCH_KERNEL =
      Downcalls.ofInt(
          JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT,
          JAVA_LONG, ADDRESS, ADDRESS);

  private final MemorySegment init;
  private final MemorySegment driverGetVersion;
  private final MemorySegment getErrorName;
  private final MemorySegment getErrorString;
  private final MemorySegment deviceGetCount;
  private final MemorySegment deviceGet;
  private final MemorySegment deviceGetName;
  private final MemorySegment deviceTotalMem;
  private final MemorySegment deviceGetAttribute;
  private final MemorySegment devicePrimaryCtxRetain;
  private final MemorySegment devicePrimaryCtxRelease;
  private final MemorySegment ctxSetCurrent;
  private final MemorySegment memGetInfo;
  private final MemorySegment memAlloc;
  private final MemorySegment memFree;
  private final MemorySegment memAllocHost;
  private final MemorySegment memFreeHost;
  private final MemorySegment memcpyHtoDAsync;
  private final MemorySegment memcpyDtoHAsync;
  private final MemorySegment memcpyDtoDAsync;
  private final MemorySegment memsetD8Async;
  private final MemorySegment streamCreate;
  private final MemorySegment streamDestroy;
  private final MemorySegment streamSynchronize;
  private final MemorySegment streamWaitEvent;
  private final MemorySegment eventCreate;
  private final MemorySegment eventDestroy;
  private final MemorySegment eventRecord;
  private final MemorySegment eventSynchronize;
  private final MemorySegment moduleLoadDataEx;
  private final MemorySegment moduleUnload;
  private final MemorySegment moduleGetFunction;
  private final MemorySegment funcGetAttribute;
  private final MemorySegment funcSetAttribute;
  private final MemorySegment launchKernel;

  /**
   * Binds the functions of a driver library.
   *
   * @throws dev.laco.ResourceException if the library lacks a function
   */
  LibCuda(NativeLibrary library) {
    init = library.function("cuInit");
    driverGetVersion = library.function("cuDriverGetVersion");
    getErrorName = library.function("cuGetErrorName");
    getErrorString = library.function("cuGetErrorString");
    deviceGetCount = library.function("cuDeviceGetCount");
    deviceGet = library.function("cuDeviceGet");
    deviceGetName = library.function("cuDeviceGetName");
    deviceTotalMem = library.function("cuDeviceTotalMem_v2");
    deviceGetAttribute = library.function("cuDeviceGetAttribute");
    devicePrimaryCtxRetain = library.function("cuDevicePrimaryCtxRetain");
    devicePrimaryCtxRelease = library.function("cuDevicePrimaryCtxRelease_v2");
    ctxSetCurrent = library.function("cuCtxSetCurrent");
    memGetInfo = library.function("cuMemGetInfo_v2");
    memAlloc = library.function("cuMemAlloc_v2");
    memFree = library.function("cuMemFree_v2");
    memAllocHost = library.function("cuMemAllocHost_v2");
    memFreeHost = library.function("cuMemFreeHost");
    memcpyHtoDAsync = library.function("cuMemcpyHtoDAsync_v2");
    memcpyDtoHAsync = library.function("cuMemcpyDtoHAsync_v2");
    memcpyDtoDAsync = library.function("cuMemcpyDtoDAsync_v2");
    memsetD8Async = library.function("cuMemsetD8Async");
    streamCreate = library.function("cuStreamCreate");
    streamDestroy = library.function("cuStreamDestroy_v2");
    streamSynchronize = library.function("cuStreamSynchronize");
    streamWaitEvent = library.function("cuStreamWaitEvent");
    eventCreate = library.function("cuEventCreate");
    eventDestroy = library.function("cuEventDestroy_v2");
    eventRecord = library.function("cuEventRecord");
    eventSynchronize = library.function("cuEventSynchronize");
    moduleLoadDataEx = library.function("cuModuleLoadDataEx");
    moduleUnload = library.function("cuModuleUnload");
    moduleGetFunction = library.function("cuModuleGetFunction");
    funcGetAttribute = library.function("cuFuncGetAttribute");
    funcSetAttribute = library.function("cuFuncSetAttribute");
    launchKernel = library.function("cuLaunchKernel");
  }

  int cuInit(int flags) {
    return Downcalls.call(() -> (int) INIT.invokeExact(init, flags));
  }

  int cuDriverGetVersion(MemorySegment version) {
    return Downcalls.call(() -> (int) DRIVER_GET_VERSION.invokeExact(driverGetVersion, version));
  }

  int cuGetErrorName(int status, MemorySegment name) {
    return Downcalls.call(() -> (int) GET_ERROR_NAME.invokeExact(getErrorName, status, name));
  }

  int cuGetErrorString(int status, MemorySegment text) {
    return Downcalls.call(() -> (int) GET_ERROR_STRING.invokeExact(getErrorString, status, text));
  }

  int cuDeviceGetCount(MemorySegment count) {
    return Downcalls.call(() -> (int) DEVICE_GET_COUNT.invokeExact(deviceGetCount, count));
  }

  int cuDeviceGet(MemorySegment device, int ordinal) {
    return Downcalls.call(() -> (int) DEVICE_GET.invokeExact(deviceGet, device, ordinal));
  }

  int cuDeviceGetName(MemorySegment name, int length, int device) {
    return Downcalls.call(
        () -> (int) DEVICE_GET_NAME.invokeExact(deviceGetName, name, length, device));
  }

  int cuDeviceTotalMem(MemorySegment bytes, int device) {
    return Downcalls.call(() -> (int) DEVICE_TOTAL_MEM.invokeExact(deviceTotalMem, bytes, device));
  }

  int cuDeviceGetAttribute(MemorySegment value, int attribute, int device) {
    return Downcalls.call(
        () -> (int) DEVICE_GET_ATTRIBUTE.invokeExact(deviceGetAttribute, value, attribute, device));
  }

  int cuDevicePrimaryCtxRetain(MemorySegment context, int device) {
    return Downcalls.call(
        () -> (int) DEVICE_PRIMARY_CTX_RETAIN.invokeExact(devicePrimaryCtxRetain, context, device));
  }

  int cuDevicePrimaryCtxRelease(int device) {
    return Downcalls.call(
        () -> (int) DEVICE_PRIMARY_CTX_RELEASE.invokeExact(devicePrimaryCtxRelease, device));
  }

  int cuCtxSetCurrent(long context) {
    return Downcalls.call(() -> (int) CTX_SET_CURRENT.invokeExact(ctxSetCurrent, context));
  }

  int cuMemGetInfo(MemorySegment free, MemorySegment total) {
    return Downcalls.call(() -> (int) MEM_GET_INFO.invokeExact(memGetInfo, free, total));
  }

  int cuMemAlloc(MemorySegment address, long bytes) {
    return Downcalls.call(() -> (int) MEM_ALLOC.invokeExact(memAlloc, address, bytes));
  }

  int cuMemFree(long address) {
    return Downcalls.call(() -> (int) MEM_FREE.invokeExact(memFree, address));
  }

  int cuMemAllocHost(MemorySegment memory, long bytes) {
    return Downcalls.call(() -> (int) MEM_ALLOC_HOST.invokeExact(memAllocHost, memory, bytes));
  }

  int cuMemFreeHost(MemorySegment memory) {
    return Downcalls.call(() -> (int) MEM_FREE_HOST.invokeExact(memFreeHost, memory));
  }

  int cuMemcpyHtoDAsync(long to, MemorySegment from, long bytes, long stream) {
    return Downcalls.call(
        () -> (int) MEMCPY_H_TO_D_ASYNC.invokeExact(memcpyHtoDAsync, to, from, bytes, stream));
  }

  int cuMemcpyDtoHAsync(MemorySegment to, long from, long bytes, long stream) {
    return Downcalls.call(
        () -> (int) MEMCPY_D_TO_H_ASYNC.invokeExact(memcpyDtoHAsync, to, from, bytes, stream));
  }

  int cuMemcpyDtoDAsync(long to, long from, long bytes, long stream) {
    return Downcalls.call(
        () -> (int) MEMCPY_D_TO_D_ASYNC.invokeExact(memcpyDtoDAsync, to, from, bytes, stream));
  }

  int cuMemsetD8Async(long address, byte value, long bytes, long stream) {
    return Downcalls.call(
        () -> (int) MEMSET_D8_ASYNC.invokeExact(memsetD8Async, address, value, bytes, stream));
  }

  int cuStreamCreate(MemorySegment stream, int flags) {
    return Downcalls.call(() -> (int) STREAM_CREATE.invokeExact(streamCreate, stream, flags));
  }

  int cuStreamDestroy(long stream) {
    return Downcalls.call(() -> (int) STREAM_DESTROY.invokeExact(streamDestroy, stream));
  }

  int cuStreamSynchronize(long stream) {
    return Downcalls.call(() -> (int) STREAM_SYNCHRONIZE.invokeExact(streamSynchronize, stream));
  }

  int cuStreamWaitEvent(long stream, long event, int flags) {
    return Downcalls.call(
        () -> (int) STREAM_WAIT_EVENT.invokeExact(streamWaitEvent, stream, event, flags));
  }

  int cuEventCreate(MemorySegment event, int flags) {
    return Downcalls.call(() -> (int) EVENT_CREATE.invokeExact(eventCreate, event, flags));
  }

  int cuEventDestroy(long event) {
    return Downcalls.call(() -> (int) EVENT_DESTROY.invokeExact(eventDestroy, event));
  }

  int cuEventRecord(long event, long stream) {
    return Downcalls.call(() -> (int) EVENT_RECORD.invokeExact(eventRecord, event, stream));
  }

  int cuEventSynchronize(long event) {
    return Downcalls.call(() -> (int) EVENT_SYNCHRONIZE.invokeExact(eventSynchronize, event));
  }

  int cuModuleLoadDataEx(
      MemorySegment module,
      MemorySegment image,
      int count,
      MemorySegment options,
      MemorySegment values) {
    return Downcalls.call(
        () ->
            (int)
                MODULE_LOAD_DATA_EX.invokeExact(
                    moduleLoadDataEx, module, image, count, options, values));
  }

  int cuModuleUnload(long module) {
    return Downcalls.call(() -> (int) MODULE_UNLOAD.invokeExact(moduleUnload, module));
  }

  int cuModuleGetFunction(MemorySegment function, long module, MemorySegment name) {
    return Downcalls.call(
        () -> (int) MODULE_GET_FUNCTION.invokeExact(moduleGetFunction, function, module, name));
  }

  int cuFuncGetAttribute(MemorySegment value, int attribute, long function) {
    return Downcalls.call(
        () -> (int) FUNC_GET_ATTRIBUTE.invokeExact(funcGetAttribute, value, attribute, function));
  }

  int cuFuncSetAttribute(long function, int attribute, int value) {
    return Downcalls.call(
        () -> (int) FUNC_SET_ATTRIBUTE.invokeExact(funcSetAttribute, function, attribute, value));
  }

  int cuLaunchKernel(
      long function,
      int gridX,
      int gridY,
      int gridZ,
      int blockX,
      int blockY,
      int blockZ,
      int sharedBytes,
      long stream,
      MemorySegment parameters,
      MemorySegment extra) {
    return Downcalls.call(
        () ->
            (int)
                LAUNCH_KERNEL.invokeExact(
                    launchKernel,
                    function,
                    gridX,
                    gridY,
                    gridZ,
                    blockX,
                    blockY,
                    blockZ,
                    sharedBytes,
                    stream,
                    parameters,
                    extra));
  }
}
