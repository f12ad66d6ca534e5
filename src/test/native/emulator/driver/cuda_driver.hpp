// The part of CUDA's driver API that the stand-in libcuda.so.1 has, with the driver's own names and values,
// and what tests set in the stand-in.
#pragma once

#include <cstddef>
#include <cstdint>

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = uint64_t;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;

enum : CUresult {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
  CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
  CUDA_ERROR_MISALIGNED_ADDRESS = 716,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
};

enum : int {
  CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
  CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X = 2,
  CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y = 3,
  CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z = 4,
  CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X = 5,
  CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y = 6,
  CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z = 7,
  CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
  CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10,
  CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13,
  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36,
  CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37,
  CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
  CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
  CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT = 40,
  CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
};

enum : int {
  CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
  CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
  CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
  CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
};

enum : int {
  CU_JIT_ERROR_LOG_BUFFER = 5,
  CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
};

enum : int {
  CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4,
};

struct CUlaunchAttribute {
  int id;
  char pad[4];
  struct {
    unsigned x, y, z;
  } clusterDim;
  char rest[52];
};
static_assert(sizeof(CUlaunchAttribute) == 72, "as the driver has it");

struct CUlaunchConfig {
  unsigned gridDimX, gridDimY, gridDimZ;
  unsigned blockDimX, blockDimY, blockDimZ;
  unsigned sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute* attrs;
  unsigned numAttrs;
};
static_assert(sizeof(CUlaunchConfig) == 56, "as the driver has it");

constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;

inline void* const CU_LAUNCH_PARAM_END = nullptr;
inline void* const CU_LAUNCH_PARAM_BUFFER_POINTER = reinterpret_cast<void*>(1);
inline void* const CU_LAUNCH_PARAM_BUFFER_SIZE = reinterpret_cast<void*>(2);

#define LACO_API extern "C" __attribute__((visibility("default")))

LACO_API CUresult cuInit(unsigned flags);
LACO_API CUresult cuDriverGetVersion(int* version);
LACO_API CUresult cuGetErrorName(CUresult error, const char** name);
LACO_API CUresult cuGetErrorString(CUresult error, const char** text);
LACO_API CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t flags, int* found);

LACO_API CUresult cuDeviceGetCount(int* count);
LACO_API CUresult cuDeviceGet(CUdevice* device, int ordinal);
LACO_API CUresult cuDeviceGetName(char* name, int length, CUdevice device);
LACO_API CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device);
LACO_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device);
LACO_API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device);

LACO_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device);
LACO_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device);
LACO_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device);
LACO_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active);
LACO_API CUresult cuCtxSetCurrent(CUcontext context);
LACO_API CUresult cuCtxGetCurrent(CUcontext* context);
LACO_API CUresult cuCtxGetDevice(CUdevice* device);
LACO_API CUresult cuCtxSynchronize();

LACO_API CUresult cuMemGetInfo_v2(size_t* free, size_t* total);
LACO_API CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes);
LACO_API CUresult cuMemFree_v2(CUdeviceptr pointer);
LACO_API CUresult cuMemAllocHost_v2(void** pointer, size_t bytes);
LACO_API CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags);
LACO_API CUresult cuMemFreeHost(void* pointer);
LACO_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes);
LACO_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes);
LACO_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes);
LACO_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream);
LACO_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream);
LACO_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
LACO_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count);
LACO_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream);
LACO_API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count);
LACO_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream);

LACO_API CUresult cuStreamCreate(CUstream* stream, unsigned flags);
LACO_API CUresult cuStreamDestroy_v2(CUstream stream);
LACO_API CUresult cuStreamSynchronize(CUstream stream);
LACO_API CUresult cuStreamQuery(CUstream stream);
LACO_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
LACO_API CUresult cuEventCreate(CUevent* event, unsigned flags);
LACO_API CUresult cuEventDestroy_v2(CUevent event);
LACO_API CUresult cuEventRecord(CUevent event, CUstream stream);
LACO_API CUresult cuEventSynchronize(CUevent event);
LACO_API CUresult cuEventQuery(CUevent event);
LACO_API CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end);

LACO_API CUresult cuModuleLoadData(CUmodule* module, const void* image);
LACO_API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, int* options, void** values);
LACO_API CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image);
LACO_API CUresult cuModuleUnload(CUmodule module);
LACO_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name);
LACO_API CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function);
LACO_API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value);
LACO_API CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                                 unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream stream,
                                 void** parameters, void** extra);
LACO_API CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra);
// By threads and shared memory alone: no registers are known.
LACO_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                              size_t sharedBytes);

// What is asked of a stream while it captures is not done, but kept in a graph.
LACO_API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
LACO_API CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph);
LACO_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, uint64_t flags);
LACO_API CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream);
LACO_API CUresult cuGraphDestroy(CUgraph graph);
LACO_API CUresult cuGraphExecDestroy(CUgraphExec executable);

// ---- control

// Everything as at load: settings from the environment, counters 0, no allocation, no context.
LACO_API void laco_standin_reset();
// The nth allocation from now on, of device or pinned memory, and all after it find no memory. 0: all find some.
LACO_API void laco_standin_fail_allocation(int64_t nth);
// The nth launch from now on fails: a sticky code (700, say) when the device comes to it, any other
// at the call. 0: none.
LACO_API void laco_standin_fail_launch(int64_t nth, int code);
LACO_API void laco_standin_driver_version(int version);
LACO_API void laco_standin_compute_capability(int major, int minor);
LACO_API void laco_standin_device_count(int count);
LACO_API void laco_standin_old_devices(int count);  // so many of the first devices have compute capability 7
// Of each device, in bytes.
LACO_API void laco_standin_memory(int64_t total);
// Every function of modules that are loaded from now on has so much static shared memory, beside what its machine code
// has.
LACO_API void laco_standin_static_shared(int64_t bytes);
// From now on the device computes and copies nothing: it only counts what it is asked for. What the host reads is made
// up: finite numbers above 0. So the engine runs at the shapes of a large model on a machine that could not hold it.
LACO_API void laco_standin_count_only();
// While it holds, waits of threads other than the one that retained the context first do not end, and what these threads
// wait for is not done. So a program that reads what another thread copies to the host must have waited for that thread.
LACO_API void laco_standin_hold_other_threads(int hold);
// What the device was asked for since the last reset, a line each: name, tab, count. Launches of each kernel, copies
// on the device, copies from and to the host and their bytes, waits of threads other than the one that retained the
// context first, and the operations of the libraries' products and systems.
LACO_API const char* laco_standin_work();
// Since the last reset. Allocations that a context's end freed, instead of the program, stay counted as live,
// but for a context with a sticky error, whose memory cannot be freed in any other way.
LACO_API int64_t laco_standin_launches();
LACO_API int64_t laco_standin_allocations();
LACO_API int64_t laco_standin_live_allocations();
// How often the thread that retained the context first waited for work of the device that the host did not know to be
// done. Whoever frees device memory waits for all work.
LACO_API int64_t laco_standin_synchronizations();
// Words of 4 bytes that copies to the host found as they were when their memory was allocated: nobody had written to
// them.
LACO_API int64_t laco_standin_unwritten_words();
// What the last call that failed found wrong; LACO_STANDIN_LOG=1 prints each to standard error.
LACO_API const char* laco_standin_last_error();

// ---- for the stand-in cuBLAS

// Adds to what laco_standin_work tells.
LACO_API void laco_standin_count(const char* name, int64_t more);

// Queues `run` with a copy of the payload; it returns an error as a launch does.
LACO_API CUresult laco_standin_enqueue(CUstream stream, CUresult (*run)(const void* payload), const void* payload,
                                       size_t payloadBytes);
// Whether the bytes lie in one live allocation of the current context.
LACO_API int laco_standin_is_device_memory(const void* pointer, size_t bytes);
