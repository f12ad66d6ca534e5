// Tests of the stand-in driver, cuBLAS and cuSOLVER: what they compute, and that they refuse what the real ones refuse.
#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "check.hpp"
#include "cuda_driver.hpp"

extern "C" {
int cublasCreate_v2(void** handle);
int cublasDestroy_v2(void* handle);
int cublasGetVersion_v2(void* handle, int* version);
int cublasGetProperty(int property, int* value);
int cublasSetStream_v2(void* handle, CUstream stream);
int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes);
int cublasSetMathMode(void* handle, int mode);
int cublasGemmEx(void* handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a, int typeA,
                 int lda, const void* b, int typeB, int ldb, const void* beta, void* c, int typeC, int ldc, int compute,
                 int algorithm);
int cublasDtrsm_v2(void* handle, int side, int fill, int operation, int diagonal, int m, int n, const double* alpha,
                   const double* a, int lda, double* b, int ldb);
const char* cublasGetStatusName(int status);

int cusolverGetProperty(int property, int* value);
int cusolverDnCreate(void** handle);
int cusolverDnDestroy(void* handle);
int cusolverDnSetStream(void* handle, CUstream stream);
int cusolverDnDpotrf_bufferSize(void* handle, int fill, int n, double* a, int lda, int* elements);
int cusolverDnDpotrf(void* handle, int fill, int n, double* a, int lda, double* work, int elements, int* info);
}

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

void check_status(const char* file, int line, CUresult expected, CUresult actual, const char* call) {
  if (actual != expected) {
    check::fail(file, line, std::string(call) + " is " + std::to_string(actual) + ", must be " +
                                std::to_string(expected) + ": " + laco_standin_last_error());
  }
}
#define OK(call) check_status(__FILE__, __LINE__, CUDA_SUCCESS, call, #call)
#define REFUSED(code, call) check_status(__FILE__, __LINE__, code, call, #call)

// A device as new, with its primary context current.
struct Device {
  CUcontext context = nullptr;
  CUstream stream = nullptr;

  Device() {
    laco_standin_reset();
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { laco_standin_reset(); }

  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr memory = 0;
    OK(cuMemAlloc_v2(&memory, bytes));
    return memory;
  }
  template <class T>
  T* pinned(size_t count) {
    void* memory = nullptr;
    OK(cuMemAllocHost_v2(&memory, count * sizeof(T)));
    return static_cast<T*>(memory);
  }
  template <class T>
  CUdeviceptr upload(const std::vector<T>& values) {
    const CUdeviceptr memory = allocate(values.size() * sizeof(T));
    OK(cuMemcpyHtoD_v2(memory, values.data(), values.size() * sizeof(T)));
    return memory;
  }
  template <class T>
  std::vector<T> download(CUdeviceptr memory, size_t count) {
    std::vector<T> values(count);
    OK(cuMemcpyDtoH_v2(values.data(), memory, count * sizeof(T)));
    return values;
  }
  CUfunction function(const char* name) {
    CUmodule module = nullptr;
    CUfunction found = nullptr;
    OK(cuModuleLoadData(&module, "laco emulated image emulator_test\n"));
    OK(cuModuleGetFunction(&found, module, name));
    return found;
  }
};

// A launch of one packed buffer, as the backend makes it.
struct Launch {
  CUfunction function;
  CUstream stream = nullptr;
  dim3 grid = 1;
  dim3 block = 1;
  unsigned shared_bytes = 0;

  CUresult packed(const void* buffer, size_t bytes) const {
    void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<void*>(buffer), CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    return cuLaunchKernel(function, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, stream, nullptr,
                          extra);
  }
  template <class Parameters>
  CUresult operator()(const Parameters& parameters) const {
    return packed(&parameters, sizeof(parameters));
  }
};

// The parameters of test_read: *to = from[at].
struct ReadParameters {
  CUdeviceptr from;
  int32_t at;
  int32_t padding;
  CUdeviceptr to;
};

}  // namespace

TEST(standin_has_devices) {
  laco_standin_reset();
  int value = 0;
  OK(cuDriverGetVersion(&value));
  CHECK(value == 13000);
  REFUSED(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&value));
  laco_standin_device_count(0);
  REFUSED(CUDA_ERROR_NO_DEVICE, cuInit(0));
  laco_standin_device_count(2);
  laco_standin_compute_capability(8, 6);
  laco_standin_memory(1 << 20);
  laco_standin_driver_version(12020);
  OK(cuInit(0));
  OK(cuDriverGetVersion(&value));
  CHECK(value == 12020);
  OK(cuDeviceGetCount(&value));
  CHECK(value == 2);
  CUdevice device = -1;
  OK(cuDeviceGet(&device, 1));
  REFUSED(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, 2));
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  CHECK(value == 8);
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
  CHECK(value == 6);
  OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device));
  CHECK(value == 99 * 1024);
  size_t bytes = 0;
  OK(cuDeviceTotalMem_v2(&bytes, device));
  CHECK(bytes == 1 << 20);
  char name[64];
  OK(cuDeviceGetName(name, sizeof(name), device));
  CHECK(std::strstr(name, "emulated") != nullptr);
  const char* text = nullptr;
  OK(cuGetErrorName(719, &text));
  CHECK(std::string(text) == "CUDA_ERROR_LAUNCH_FAILED");
  OK(cuGetErrorString(2, &text));
  CHECK(std::string(text) == "out of memory");
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuGetErrorName(12345, &text));
}

TEST(standin_wants_a_current_context) {
  laco_standin_reset();
  OK(cuInit(0));
  CUdeviceptr memory = 0;
  std::thread([&] { REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&memory, 16)); }).join();
  Device device;
  OK(cuMemAlloc_v2(&memory, 16));
  std::thread([&] {
    REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuMemFree_v2(memory));
    REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuStreamSynchronize(device.stream));
    OK(cuCtxSetCurrent(device.context));
    OK(cuStreamSynchronize(device.stream));
  }).join();
  CUcontext current = nullptr;
  OK(cuCtxGetCurrent(&current));
  CHECK(current == device.context);
  OK(cuMemFree_v2(memory));
  CUcontext again = nullptr;
  OK(cuDevicePrimaryCtxRetain(&again, 0));
  CHECK(again == device.context);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuCtxSynchronize());
  OK(cuDevicePrimaryCtxRelease_v2(0));
  REFUSED(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuCtxSynchronize());
  REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease_v2(0));
  REFUSED(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(device.context));
}

TEST(standin_gives_poisoned_memory) {
  Device device;
  const CUdeviceptr memory = device.allocate(1000);
  CHECK(memory % 256 == 0);
  for (float value : device.download<float>(memory, 250)) {
    CHECK(std::isnan(value));
  }
  CHECK(std::isnan(device.pinned<float>(1)[0]));
  OK(cuMemFree_v2(memory));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(memory));
  const CUdeviceptr other = device.allocate(1000);
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(other + 8));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(reinterpret_cast<void*>(other)));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(0));
  CUdeviceptr none = 0;
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemAlloc_v2(&none, 0));
}

TEST(standin_poisons_large_memory) {
  Device device;
  const size_t bytes = (9 << 20) + 12;
  const CUdeviceptr memory = device.allocate(bytes);
  const auto all = [&] { return device.download<unsigned char>(memory, bytes); };
  const auto poisoned = [](unsigned char c) { return c == 0xff; };
  std::vector<unsigned char> now = all();
  CHECK(std::all_of(now.begin(), now.end(), poisoned));
  OK(cuMemsetD8_v2(memory, 7, bytes));
  now = all();
  CHECK(std::count(now.begin(), now.end(), 7) == static_cast<std::ptrdiff_t>(bytes));
  OK(cuMemFree_v2(memory));
  if (!kSanitized) {
    const auto* begin = reinterpret_cast<const unsigned char*>(memory);
    CHECK(std::all_of(begin, begin + bytes, poisoned));
  }
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(memory, 7, 1));
  CHECK(std::strstr(laco_standin_last_error(), "freed") != nullptr);
  const CUdeviceptr other = device.allocate(bytes);
  OK(cuMemcpyDtoH_v2(now.data(), other, bytes));
  CHECK(std::all_of(now.begin(), now.end(), poisoned));
}

TEST(standin_counts_memory) {
  Device device;
  laco_standin_memory(4096);
  size_t free = 0;
  size_t total = 0;
  const CUdeviceptr memory = device.allocate(1000);
  OK(cuMemGetInfo_v2(&free, &total));
  CHECK(free == 3072 && total == 4096);
  CUdeviceptr other = 0;
  REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&other, 3073));
  OK(cuMemAlloc_v2(&other, 3072));
  OK(cuMemFree_v2(memory));
  device.pinned<char>(1 << 20);
  OK(cuMemGetInfo_v2(&free, &total));
  CHECK(free == 1024);
  CHECK(laco_standin_allocations() == 4 && laco_standin_live_allocations() == 2);
  // What the program did not free stays counted.
  OK(cuDevicePrimaryCtxRelease_v2(0));
  CHECK(laco_standin_live_allocations() == 2);
}

TEST(standin_checks_copies) {
  Device device;
  const CUdeviceptr memory = device.allocate(64);
  float host[32] = {};
  OK(cuMemcpyHtoD_v2(memory, host, 64));
  OK(cuMemcpyHtoD_v2(memory + 60, host, 4));
  OK(cuMemcpyHtoD_v2(memory + 64, host, 0));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(memory, host, 65));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(memory - 4, host, 4));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(host, memory + 61, 4));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host, 4));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(memory, nullptr, 4));
  const CUdeviceptr other = device.allocate(64);
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(memory, reinterpret_cast<void*>(other), 4));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD_v2(memory, memory + 4, 8));
  OK(cuMemcpyDtoD_v2(memory, other, 64));
  char* pinned = device.pinned<char>(16);
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoDAsync_v2(memory, pinned + 8, 16, device.stream));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoHAsync_v2(pinned + 8, memory, 16, device.stream));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD8Async(memory, 0, 65, device.stream));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemsetD32Async(memory + 2, 0, 1, device.stream));
  OK(cuMemFree_v2(memory));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(memory, host, 4));
  CHECK(std::strstr(laco_standin_last_error(), "freed") != nullptr);
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuMemcpyHtoDAsync_v2(other, host, 4, reinterpret_cast<CUstream>(&device)));
}

TEST(standin_copies_late) {
  Device device;
  const CUdeviceptr memory = device.upload(std::vector<int>{1, 2});
  int* staging = device.pinned<int>(4);
  // A pinned source that is written too early goes up as it is then.
  staging[0] = 3;
  OK(cuMemcpyHtoDAsync_v2(memory, staging, 4, device.stream));
  staging[0] = 4;
  // Other memory has been read when the call returns.
  int pageable = 5;
  OK(cuMemcpyHtoDAsync_v2(memory + 4, &pageable, 4, device.stream));
  pageable = 6;
  staging[2] = staging[3] = -1;
  OK(cuMemcpyDtoHAsync_v2(staging + 2, memory, 8, device.stream));
  CHECK(staging[2] == -1);
  OK(cuStreamSynchronize(device.stream));
  CHECK(staging[2] == 4 && staging[3] == 5);
  OK(cuMemsetD32Async(memory, 7, 2, device.stream));
  CHECK(device.download<int>(memory, 1)[0] == 4);
  // A download into pageable memory waits for its stream.
  OK(cuMemcpyDtoHAsync_v2(&pageable, memory, 4, device.stream));
  CHECK(pageable == 7);
  CHECK(laco_standin_synchronizations() == 1);
  OK(cuMemcpyHtoDAsync_v2(memory, staging, 4, device.stream));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(staging));
  OK(cuStreamSynchronize(device.stream));
  CHECK(laco_standin_synchronizations() == 2);
  // Who knows that all is done waits no more; who frees memory waits for all work.
  OK(cuStreamSynchronize(device.stream));
  CUdeviceptr other;
  OK(cuMemAlloc_v2(&other, 4));
  OK(cuMemFree_v2(other));
  CHECK(laco_standin_synchronizations() == 2);
  OK(cuMemAlloc_v2(&other, 4));
  OK(cuMemsetD32Async(memory, 7, 1, device.stream));
  OK(cuMemFree_v2(other));
  CHECK(laco_standin_synchronizations() == 3);
  OK(cuMemFreeHost(staging));
}

TEST(standin_holds_the_waits_of_other_threads) {
  Device device;
  const CUdeviceptr memory = device.upload(std::vector<int>{1});
  int* pinned = device.pinned<int>(4);
  *pinned = -1;
  CUstream second = nullptr;
  OK(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
  laco_standin_hold_other_threads(1);
  const int64_t waits = laco_standin_synchronizations();
  std::thread other([&] {
    OK(cuCtxSetCurrent(device.context));
    OK(cuMemcpyDtoHAsync_v2(pinned, memory, 4, second));
    OK(cuStreamSynchronize(second));
  });
  OK(cuMemsetD32Async(memory, 7, 1, device.stream));
  OK(cuStreamSynchronize(device.stream));
  CHECK(*pinned == -1);
  laco_standin_hold_other_threads(0);
  other.join();
  CHECK(*pinned == 7);
  CHECK(laco_standin_synchronizations() == waits + 1);
  CHECK(std::strstr(laco_standin_work(), "waits of other threads\t1\n") != nullptr);
  OK(cuMemFreeHost(pinned));
}

TEST(standin_orders_streams_by_events_only) {
  for (const bool waits : {false, true}) {
    Device device;
    CUstream second = nullptr;
    CUevent event = nullptr;
    OK(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    const CUdeviceptr from = device.upload(std::vector<int>{0});
    const CUdeviceptr to = device.upload(std::vector<int>{0});
    OK(cuMemsetD32Async(from, 1, 1, device.stream));
    OK(cuEventRecord(event, device.stream));
    OK(cuMemsetD32Async(from, 2, 1, device.stream));
    if (waits) {
      OK(cuStreamWaitEvent(second, event, 0));
    }
    // Another use of the event does not touch what waits for the first.
    OK(cuEventRecord(event, device.stream));
    OK(cuMemcpyDtoDAsync_v2(to, from, 4, second));
    OK(cuStreamSynchronize(second));
    CHECK(device.download<int>(to, 1)[0] == (waits ? 1 : 0));
    OK(cuEventSynchronize(event));
    CHECK(device.download<int>(from, 1)[0] == 2);
  }
}

TEST(standin_has_events) {
  Device device;
  CUevent start = nullptr;
  CUevent end = nullptr;
  CUevent untimed = nullptr;
  OK(cuEventCreate(&start, 0));
  OK(cuEventCreate(&end, 0));
  OK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  float milliseconds = -1;
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&milliseconds, start, end));
  const CUdeviceptr memory = device.allocate(4);
  OK(cuEventRecord(start, device.stream));
  OK(cuMemsetD8Async(memory, 0, 4, device.stream));
  OK(cuEventRecord(end, device.stream));
  OK(cuEventRecord(untimed, device.stream));
  REFUSED(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&milliseconds, start, end));
  REFUSED(CUDA_ERROR_NOT_READY, cuStreamQuery(device.stream));
  int asked = 0;
  while (cuEventQuery(end) == CUDA_ERROR_NOT_READY) {
    CHECK(++asked < 10);
  }
  OK(cuEventElapsedTime(&milliseconds, start, end));
  CHECK(milliseconds >= 0);
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&milliseconds, start, untimed));
  OK(cuEventDestroy_v2(start));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(start, device.stream));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuEventDestroy_v2(start));
  OK(cuStreamDestroy_v2(device.stream));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(device.stream));
}

TEST(standin_default_stream_waits_for_blocking_ones) {
  Device device;
  CUstream blocking = nullptr;
  OK(cuStreamCreate(&blocking, 0));
  const CUdeviceptr memory = device.upload(std::vector<int>{0, 0});
  OK(cuMemsetD32Async(memory, 1, 1, blocking));
  OK(cuMemsetD32Async(memory + 4, 1, 1, device.stream));
  const std::vector<int> seen = device.download<int>(memory, 2);
  CHECK(seen[0] == 1 && seen[1] == 0);
}

TEST(standin_launches_late) {
  Device device;
  const CUdeviceptr from = device.upload(std::vector<float>{1, 2});
  const CUdeviceptr to = device.upload(std::vector<float>{0});
  const Launch read{device.function("test_read"), device.stream};
  ReadParameters parameters{from, 1, 0, to};
  OK(read(parameters));
  parameters.at = 0;  // the launch has its own copy
  CHECK(device.download<float>(to, 1)[0] == 0);
  OK(cuStreamSynchronize(device.stream));
  CHECK(device.download<float>(to, 1)[0] == 2);
  CHECK(laco_standin_launches() == 1);
  // One pointer for every parameter is the other way to pass them.
  void* pointers[] = {&parameters.from, &parameters.at, &parameters.to};
  OK(cuLaunchKernel(read.function, 1, 1, 1, 1, 1, 1, 0, device.stream, pointers, nullptr));
  OK(cuCtxSynchronize());
  CHECK(device.download<float>(to, 1)[0] == 1);
}

TEST(standin_only_counts_when_told) {
  Device device;
  laco_standin_memory(int64_t{80} << 30);
  laco_standin_count_only();
  CUdeviceptr memory;
  OK(cuMemAlloc_v2(&memory, size_t{40} << 30));
  const float one = 1;
  OK(cuMemcpyHtoDAsync_v2(memory, &one, sizeof(one), device.stream));
  OK(cuMemcpyDtoDAsync_v2(memory + 64, memory, sizeof(one), device.stream));
  double result = 0;
  OK(cuMemcpyDtoHAsync_v2(&result, memory, sizeof(result), device.stream));
  CHECK(result > 0 && result < 1);
  const std::string work = laco_standin_work();
  CHECK(work.find("uploaded bytes\t4\n") != std::string::npos);
  CHECK(work.find("downloads\t1\n") != std::string::npos);
  CHECK(work.find("copies on the device\t1\n") != std::string::npos);
  CHECK(work.find("most bytes of device memory\t42949672960\n") != std::string::npos);
  OK(cuMemFree_v2(memory));
}

TEST(standin_checks_launches) {
  Device device;
  const CUdeviceptr memory = device.upload(std::vector<float>(1024, 1.0f));
  Launch read{device.function("test_read"), device.stream};
  const ReadParameters parameters{memory, 0, 0, memory};
  for (size_t bytes : {0, 16, 23, 25, 32}) {
    const uint64_t buffer[4] = {};
    REFUSED(CUDA_ERROR_INVALID_VALUE, read.packed(buffer, bytes));
  }
  read.block = 1025;
  REFUSED(CUDA_ERROR_INVALID_VALUE, read(parameters));
  read.block = dim3(1, 1, 65);
  REFUSED(CUDA_ERROR_INVALID_VALUE, read(parameters));
  read.block = 1;
  read.grid = dim3(1, 65536);
  REFUSED(CUDA_ERROR_INVALID_VALUE, read(parameters));
  read.grid = 0;
  REFUSED(CUDA_ERROR_INVALID_VALUE, read(parameters));
  read.grid = 1;
  Launch sum{device.function("test_sum"), device.stream, 1, 288};
  const CUdeviceptr sums[] = {memory, memory};
  REFUSED(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, sum(sums));
  int bound = 0;
  OK(cuFuncGetAttribute(&bound, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, sum.function));
  CHECK(bound == 256);
  read.function = reinterpret_cast<CUfunction>(&device);
  REFUSED(CUDA_ERROR_INVALID_HANDLE, read(parameters));
  read.function = sum.function;
  read.stream = reinterpret_cast<CUstream>(&device);
  REFUSED(CUDA_ERROR_INVALID_HANDLE, read(parameters));
}

TEST(standin_bounds_shared_memory) {
  Device device;
  const CUdeviceptr to = device.allocate(256);
  Launch launch{device.function("test_unwritten"), device.stream, 1, 32, 48 * 1024};
  OK(launch(to));
  launch.shared_bytes++;
  REFUSED(CUDA_ERROR_INVALID_VALUE, launch(to));
  const int attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
  OK(cuFuncSetAttribute(launch.function, attribute, 227 * 1024));
  OK(launch(to));
  launch.shared_bytes = 227 * 1024 + 1;
  REFUSED(CUDA_ERROR_INVALID_VALUE, launch(to));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(launch.function, attribute, 227 * 1024 + 1));
  laco_standin_compute_capability(8, 9);
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(launch.function, attribute, 99 * 1024 + 1));
}

TEST(standin_errors_of_a_kernel_stick) {
  const std::function<CUresult(Device&)> failures[] = {
      [](Device& device) {  // freed memory
        const CUdeviceptr memory = device.allocate(4);
        const Launch read{device.function("test_read"), device.stream};
        OK(cuMemFree_v2(memory));
        OK(read(ReadParameters{memory, 0, 0, memory}));
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      },
      [](Device& device) {  // the host's
        float host = 0;
        const Launch read{device.function("test_read"), device.stream};
        OK(read(ReadParameters{reinterpret_cast<CUdeviceptr>(&host), 0, 0, device.allocate(4)}));
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      },
      [](Device& device) {
        const CUdeviceptr memory = device.allocate(16);
        const Launch read{device.function("test_read"), device.stream};
        OK(read(ReadParameters{memory + 2, 0, 0, memory}));
        return CUDA_ERROR_MISALIGNED_ADDRESS;
      },
      [](Device& device) {
        const Launch deadlock{device.function("test_deadlock"), device.stream, 1, 64};
        OK(deadlock.packed(nullptr, 0));
        return CUDA_ERROR_LAUNCH_FAILED;
      },
      [](Device& device) {
        laco_standin_fail_launch(2, CUDA_ERROR_LAUNCH_FAILED);
        const CUdeviceptr memory = device.allocate(16);
        const Launch read{device.function("test_read"), device.stream};
        OK(read(ReadParameters{memory, 0, 0, memory}));
        OK(cuStreamSynchronize(device.stream));
        OK(read(ReadParameters{memory, 0, 0, memory}));
        return CUDA_ERROR_LAUNCH_FAILED;
      },
  };
  for (const auto& failure : failures) {
    Device device;
    const CUdeviceptr before = device.allocate(4);
    const CUresult code = failure(device);
    REFUSED(code, cuStreamSynchronize(device.stream));
    CUdeviceptr memory = 0;
    REFUSED(code, cuMemAlloc_v2(&memory, 4));
    REFUSED(code, cuMemFree_v2(before));
    REFUSED(code, cuMemcpyHtoD_v2(before, &memory, 4));
    REFUSED(code, cuCtxSynchronize());
    CHECK(laco_standin_live_allocations() > 0);
    OK(cuDevicePrimaryCtxRelease_v2(0));
    CHECK(laco_standin_live_allocations() == 0);
    OK(cuDevicePrimaryCtxRetain(&device.context, 0));
    OK(cuCtxSetCurrent(device.context));
    OK(cuMemAlloc_v2(&memory, 4));
    OK(cuCtxSynchronize());
  }
}

TEST(standin_finds_writes_beside_an_allocation) {
  if (kSanitized) {
    return;  // the sanitizer ends the program
  }
  for (const bool at_once : {false, true}) {
    for (const int at : {-1, 1, 63}) {
      Device device;
      const CUdeviceptr one = device.upload(std::vector<float>{1});
      const CUdeviceptr to = device.allocate(4);
      reinterpret_cast<float*>(to)[at] = 1;  // as a kernel could
      if (at_once) {
        REFUSED(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(device.stream));
      } else {
        REFUSED(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFree_v2(to));
      }
      REFUSED(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFree_v2(one));
    }
  }
}

TEST(standin_fails_when_told) {
  Device device;
  laco_standin_fail_allocation(2);
  CUdeviceptr memory = 0;
  void* pinned = nullptr;
  OK(cuMemAlloc_v2(&memory, 4));
  REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocHost_v2(&pinned, 4));
  CUdeviceptr more;
  REFUSED(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&more, 4));
  laco_standin_fail_allocation(0);
  OK(cuMemAllocHost_v2(&pinned, 4));
  laco_standin_fail_launch(1, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  const Launch read{device.function("test_read"), device.stream};
  REFUSED(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, read(ReadParameters{memory, 0, 0, memory}));
  OK(read(ReadParameters{memory, 0, 0, memory}));
  OK(cuStreamSynchronize(device.stream));
}

namespace {

// Little ELF files and fatbins with what the stand-in reads of real ones.
template <class T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

struct Code {
  unsigned architecture = 90;
  bool exact = false;
  unsigned char abi = 8;
  std::vector<unsigned> parameters;  // sizes
  unsigned shared_bytes = 0;
};

std::string attributes(const Code& code) {
  std::string data;
  uint32_t offset = 0;
  for (uint16_t i = 0; i < code.parameters.size(); i++) {
    const uint32_t size = code.parameters[i];
    offset = (offset + size - 1) / size * size;
    append(data, uint32_t{0x000c1704});
    append(data, uint32_t{0});
    append(data, i);
    append(data, static_cast<uint16_t>(offset));
    append(data, size << 18 | 0x1f000);
    offset += size;
  }
  append(data, offset << 16 | 0x1903);
  return data;
}

std::string cubin(const std::string& kernel, const Code& code) {
  const std::string data = attributes(code);
  std::string names(1, '\0');
  std::vector<Elf64_Shdr> sections(1);
  const auto add = [&](const std::string& name, size_t offset, size_t bytes) {
    Elf64_Shdr section{};
    section.sh_name = static_cast<Elf64_Word>(names.size());
    section.sh_offset = offset;
    section.sh_size = bytes;
    sections.push_back(section);
    names += name + '\0';
  };
  add(".nv.info." + kernel, sizeof(Elf64_Ehdr), data.size());
  add(".nv.shared." + kernel, 0, code.shared_bytes + (code.architecture >= 90 ? 1024 : 0));
  if (code.architecture >= 90) {
    add(".nv.shared.reserved.0", 0, 0);
  }
  add(".shstrtab", sizeof(Elf64_Ehdr) + data.size(), 0);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_ABIVERSION] = code.abi;
  header.e_machine = EM_CUDA;
  header.e_shoff = sizeof(header) + data.size() + names.size();
  header.e_shnum = static_cast<Elf64_Half>(sections.size());
  header.e_shstrndx = static_cast<Elf64_Half>(sections.size() - 1);
  std::string file;
  append(file, header);
  file += data + names;
  for (const Elf64_Shdr& section : sections) {
    append(file, section);
  }
  return file;
}

std::string fatbin_entry(uint16_t kind, unsigned architecture, bool exact, uint16_t major, const std::string& content) {
  std::string entry;
  append(entry, kind);
  append(entry, uint16_t{0x101});
  append(entry, uint32_t{64});
  append(entry, uint64_t{content.size()});
  append(entry, uint64_t{0});
  append(entry, uint16_t{0});
  append(entry, major);
  append(entry, uint32_t{architecture});
  append(entry, uint64_t{0});
  append(entry, uint64_t{exact ? 0x100011u : 0x11u});
  entry.resize(64);
  return entry + content;
}

std::string fatbin(const std::string& entries) {
  std::string file;
  append(file, uint32_t{0xba55ed50});
  append(file, uint16_t{1});
  append(file, uint16_t{16});
  append(file, uint64_t{entries.size()});
  return file + entries;
}

std::string code_entry(const Code& code) {
  return fatbin_entry(2, code.architecture, code.exact, 1, cubin("test_read", code));
}

const std::vector<unsigned> kReadSizes = {8, 4, 8};

}  // namespace

TEST(standin_reads_fatbins) {
  Device device;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  Code code;
  code.parameters = kReadSizes;
  code.shared_bytes = 1000;
  OK(cuModuleLoadData(&module, fatbin(code_entry(code)).data()));
  REFUSED(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, module, "test_sum"));
  REFUSED(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, module, "test_nothing"));
  OK(cuModuleGetFunction(&function, module, "test_read"));
  int bytes = 0;
  OK(cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function));
  CHECK(bytes == 1000);
  const CUdeviceptr memory = device.upload(std::vector<float>{1});
  Launch read{function, device.stream, 1, 1, 48 * 1024 - 1000};
  OK(read(ReadParameters{memory, 0, 0, memory}));
  read.shared_bytes++;
  REFUSED(CUDA_ERROR_INVALID_VALUE, read(ReadParameters{memory, 0, 0, memory}));
  OK(cuModuleUnload(module));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&function, module, "test_read"));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, read(ReadParameters{memory, 0, 0, memory}));
  // Every architecture's code must have the parameters of the source that is emulated.
  for (const std::vector<unsigned>& sizes : {std::vector<unsigned>{8, 8, 8}, {8, 4}, {8, 4, 8, 4}, {8, 8, 4}}) {
    Code other = code;
    other.architecture = 80;
    other.parameters = sizes;
    OK(cuModuleLoadData(&module, fatbin(code_entry(code) + code_entry(other)).data()));
    REFUSED(CUDA_ERROR_INVALID_IMAGE, cuModuleGetFunction(&function, module, "test_read"));
  }
}

TEST(standin_takes_code_that_fits_the_device) {
  struct Case {
    std::string image;
    int major, minor, driver;
    CUresult expected;
  };
  Code sm_80{80, false, 8, kReadSizes};
  Code sm_90a{90, true, 8, kReadSizes};
  Code older{80, false, 7, kReadSizes};
  const auto ptx = [](unsigned architecture, uint16_t major) {
    return fatbin_entry(1, architecture, false, major, ".visible .entry test_read(\n");
  };
  const Case cases[] = {
      {fatbin(code_entry(sm_80)), 8, 0, 13000, CUDA_SUCCESS},
      {fatbin(code_entry(sm_80)), 8, 9, 13000, CUDA_SUCCESS},
      {fatbin(code_entry(sm_80)), 9, 0, 13000, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {fatbin(code_entry(sm_80)), 7, 5, 13000, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {fatbin(code_entry(sm_90a)), 9, 0, 13000, CUDA_SUCCESS},
      {fatbin(code_entry(sm_90a)), 9, 1, 13000, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {fatbin(code_entry(sm_80)), 8, 0, 12080, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {fatbin(code_entry(older)), 8, 0, 12000, CUDA_SUCCESS},
      {fatbin(ptx(80, 9)), 12, 0, 13000, CUDA_SUCCESS},
      {fatbin(ptx(80, 9)), 7, 5, 13000, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {fatbin(ptx(80, 9)), 9, 0, 12090, CUDA_ERROR_UNSUPPORTED_PTX_VERSION},
      {fatbin(ptx(80, 8)), 9, 0, 12000, CUDA_SUCCESS},
  };
  for (const Case& one : cases) {
    Device device;
    laco_standin_compute_capability(one.major, one.minor);
    laco_standin_driver_version(one.driver);
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    REFUSED(one.expected, cuModuleLoadData(&module, one.image.data()));
    if (one.expected == CUDA_SUCCESS) {
      OK(cuModuleGetFunction(&function, module, "test_read"));
    }
  }
}

TEST(standin_refuses_other_images) {
  Device device;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  for (const char* image : {"", "abc", "laco emulated", "\x50\xed\x55", "\x7f\x45LG"}) {
    REFUSED(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&module, image));
  }
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuModuleLoadData(&module, nullptr));
  // An emulated image has the kernels of its file.
  OK(cuModuleLoadData(&module, "laco emulated image test\n"));
  REFUSED(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, module, "test_read"));
  OK(cuModuleLoadDataEx(&module, "laco emulated image emulator_test\n", 0, nullptr, nullptr));
  OK(cuModuleGetFunction(&function, module, "test_read"));
}

TEST(standin_says_why_it_refuses_an_image) {
  Device device;
  CUmodule module = nullptr;
  int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  char log[20] = "";
  void* values[] = {log, reinterpret_cast<void*>(sizeof(log))};
  OK(cuModuleLoadDataEx(&module, "laco emulated image emulator_test\n", 2, options, values));
  CHECK(std::string(log).empty());
  REFUSED(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadDataEx(&module, "nonsense", 2, options, values));
  CHECK(std::string(log) == "cuModuleLoadData: t");
}

TEST(standin_launches_blocks_of_several_dimensions_and_no_clusters) {
  Device device;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, "laco emulated image emulator_test\n"));
  OK(cuModuleGetFunction(&function, module, "test_divergent_barrier"));
  int threads = 0;
  void* parameters[] = {&threads};
  CUlaunchConfig config{1, 1, 1, 8, 4, 2, 0, device.stream, nullptr, 0};
  OK(cuLaunchKernelEx(&config, function, parameters, nullptr));
  config.blockDimZ = 64;
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuLaunchKernelEx(&config, function, parameters, nullptr));
  config.blockDimZ = 2;
  CUlaunchAttribute cluster{CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, {}, {2, 1, 1}, {}};
  config.attrs = &cluster;
  config.numAttrs = 1;
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuLaunchKernelEx(&config, function, parameters, nullptr));
  cluster.clusterDim.x = 1;
  OK(cuLaunchKernelEx(&config, function, parameters, nullptr));
}

TEST(standin_replays_what_a_stream_captured) {
  Device device;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, "laco emulated image emulator_test\n"));
  OK(cuModuleGetFunction(&function, module, "test_sum"));
  std::vector<float> values(256, 1);
  CUdeviceptr from = device.upload(values);
  CUdeviceptr to = device.upload(values);
  void* parameters[] = {&from, &to};
  OK(cuStreamBeginCapture_v2(device.stream, 1));
  REFUSED(CUDA_ERROR_INVALID_VALUE, cuStreamBeginCapture_v2(device.stream, 1));
  OK(cuLaunchKernel(function, 1, 1, 1, 256, 1, 1, 0, device.stream, parameters, nullptr));
  REFUSED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(device.stream));
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  OK(cuStreamEndCapture(device.stream, &graph));
  OK(cuGraphInstantiateWithFlags(&executable, graph, 0));
  OK(cuGraphDestroy(graph));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuGraphDestroy(graph));
  CHECK(device.download<float>(to, 256) == values);
  for (int times = 0; times < 2; times++) {
    OK(cuGraphLaunch(executable, device.stream));
    OK(cuStreamSynchronize(device.stream));
    CHECK(device.download<float>(to, 256)[0] == 256);
  }
  OK(cuGraphExecDestroy(executable));
  REFUSED(CUDA_ERROR_INVALID_HANDLE, cuGraphLaunch(executable, device.stream));
}

TEST(standin_knows_how_many_blocks_fit) {
  Device device;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(cuModuleLoadData(&module, "laco emulated image emulator_test\n"));
  OK(cuModuleGetFunction(&function, module, "test_sum"));
  const auto blocks = [&](int threads, size_t shared_bytes) {
    int count = -1;
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&count, function, threads, shared_bytes));
    return count;
  };
  CHECK(blocks(32, 0) == 32);
  CHECK(blocks(256, 0) == 8);
  CHECK(blocks(256, 100 << 10) == 2);
  CHECK(blocks(512, 0) == 0);
}

TEST(standin_finds_its_functions_by_name) {
  void* function = nullptr;
  int found = 0;
  OK(cuGetProcAddress_v2("cuMemAlloc", &function, 13000, 0, &found));
  CHECK(function == reinterpret_cast<void*>(&cuMemAlloc_v2));
  OK(cuGetProcAddress_v2("cuLaunchKernel", &function, 13000, 0, &found));
  CHECK(function == reinterpret_cast<void*>(&cuLaunchKernel));
  REFUSED(CUDA_ERROR_NOT_FOUND, cuGetProcAddress_v2("cuNothing", &function, 13000, 0, &found));
}

TEST(standin_can_lack_symbols) {
  if (kSanitized) {
    return;  // a sanitized library is loaded once only
  }
  Dl_info info;
  CHECK(dladdr(reinterpret_cast<void*>(&cuInit), &info) != 0);
  setenv("LACO_STANDIN_MISSING", "cuLaunchKernel,cuMemsetD8Async", 1);
  void* another = dlmopen(LM_ID_NEWLM, info.dli_fname, RTLD_NOW);
  unsetenv("LACO_STANDIN_MISSING");
  CHECK(another != nullptr);
  CHECK(dlsym(another, "cuLaunchKernel") == nullptr);
  CHECK(dlsym(another, "cuMemsetD8Async") == nullptr);
  CHECK(dlsym(another, "cuMemsetD8_v2") != nullptr);
  CHECK(dlsym(another, "cuInit") != nullptr);
  dlclose(another);
}

namespace {

constexpr int kTypes[] = {0, 2, 14};  // R_32F, R_16F, R_16BF
constexpr int kCompute32F = 68;

template <class T>
void check_product(int type, int m, int n, int k, bool transpose_a, bool transpose_b, float beta) {
  Device device;
  void* handle = nullptr;
  CHECK(cublasCreate_v2(&handle) == 0);
  CHECK(cublasSetStream_v2(handle, device.stream) == 0);
  const auto size = [](int x) { return static_cast<size_t>(x); };
  const int lda = (transpose_a ? k : m) + 3;
  const int ldb = (transpose_b ? n : k) + 1;
  const int ldc = m + 2;
  const auto a = check::random<T>(size(lda) * size(transpose_a ? m : k) + 1);
  const auto b = check::random<T>(size(ldb) * size(transpose_b ? k : n) + 1);
  const auto c = check::random<float>(size(ldc) * size(n));
  const CUdeviceptr on_device[] = {device.upload(a), device.upload(b), device.upload(c)};
  const float alpha = 0.5f;
  CHECK(cublasGemmEx(handle, transpose_a, transpose_b, m, n, k, &alpha, reinterpret_cast<void*>(on_device[0]), type, lda,
                     reinterpret_cast<void*>(on_device[1]), type, ldb, &beta, reinterpret_cast<void*>(on_device[2]), 0,
                     ldc, kCompute32F, -1) == 0);
  CHECK(device.download<float>(on_device[2], c.size()) == c);
  OK(cuStreamSynchronize(device.stream));
  const auto result = device.download<float>(on_device[2], c.size());
  for (int j = 0; j < n; j++) {
    for (int i = 0; i < ldc; i++) {
      const size_t at = size(j) * size(ldc) + size(i);
      double expected = check::wide(c[at]);
      if (i < m) {
        expected *= check::wide(beta);
        for (int l = 0; l < k; l++) {
          const double left = check::wide(a[transpose_a ? size(i) * size(lda) + size(l) : size(l) * size(lda) + size(i)]);
          const double right = check::wide(b[transpose_b ? size(l) * size(ldb) + size(j) : size(j) * size(ldb) + size(l)]);
          expected += 0.5 * left * right;
        }
      }
      CHECK_CLOSE(check::wide(result[at]), expected, 1e-5 * std::sqrt(k), "product");
    }
  }
  CHECK(cublasDestroy_v2(handle) == 0);
}

}  // namespace

TEST(standin_multiplies_matrices) {
  for (const auto& [m, n, k] : {std::tuple{1, 1, 1}, {7, 5, 3}, {64, 64, 512}, {130, 65, 600}, {33, 1, 1030}, {5, 4, 0}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        check_product<float>(kTypes[0], m, n, k, transpose_a, transpose_b, 0.25f);
        check_product<__half>(kTypes[1], m, n, k, transpose_a, transpose_b, 1.0f);
        check_product<__nv_bfloat16>(kTypes[2], m, n, k, transpose_a, transpose_b, 1.0f);
      }
    }
  }
}

TEST(standin_overwrites_with_beta_zero) {
  Device device;
  void* handle = nullptr;
  CHECK(cublasCreate_v2(&handle) == 0);
  const CUdeviceptr a = device.upload(std::vector<float>{2});
  const CUdeviceptr c = device.allocate(4);  // NaN
  const float alpha = 1;
  const float beta = 0;
  CHECK(cublasGemmEx(handle, 0, 0, 1, 1, 1, &alpha, reinterpret_cast<void*>(a), 0, 1, reinterpret_cast<void*>(a), 0, 1,
                     &beta, reinterpret_cast<void*>(c), 0, 1, kCompute32F, -1) == 0);
  OK(cuCtxSynchronize());
  CHECK(device.download<float>(c, 1)[0] == 4);
  CHECK(cublasDestroy_v2(handle) == 0);
}

// A sum of ones in bf16, whose numbers are multiples of 4 from 512 on and of 8 from 1024 on. A library rounds parts of a sum to the type of
// the result, unless the math mode forbids it.
TEST(standin_rounds_products_to_their_type) {
  Device device;
  void* handle = nullptr;
  CHECK(cublasCreate_v2(&handle) == 0);
  constexpr int kDepth = 1028;
  std::vector<__nv_bfloat16> ones(kDepth, check::narrow<__nv_bfloat16>(1));
  const CUdeviceptr a = device.upload(ones);
  ones[0] = check::narrow<__nv_bfloat16>(2);
  const CUdeviceptr b = device.upload(ones);
  const CUdeviceptr c = device.upload(std::vector<__nv_bfloat16>(1));
  const float one = 1, zero = 0;
  // The parts are 513, 512 and 4.
  for (const auto& [mode, expected] : {std::pair{0, 1024.0}, {16, 1032.0}}) {
    CHECK(cublasSetMathMode(handle, mode) == 0);
    CHECK(cublasGemmEx(handle, 1, 0, 1, 1, kDepth, &one, reinterpret_cast<void*>(a), 14, kDepth,
                       reinterpret_cast<void*>(b), 14, kDepth, &zero, reinterpret_cast<void*>(c), 14, 1, kCompute32F,
                       -1) == 0);
    OK(cuCtxSynchronize());
    CHECK_CLOSE(check::wide(device.download<__nv_bfloat16>(c, 1)[0]), expected, 0, "product of ones");
  }
  CHECK(cublasDestroy_v2(handle) == 0);
}

TEST(standin_checks_products) {
  void* handle = nullptr;
  std::thread([&] { CHECK(cublasCreate_v2(&handle) == 1); }).join();
  Device device;
  CHECK(cublasCreate_v2(&handle) == 0);
  int value = 0;
  CHECK(cublasGetVersion_v2(handle, &value) == 0 && value == 130100);
  CHECK(cublasGetProperty(0, &value) == 0 && value == 13);
  CHECK(cublasSetStream_v2(handle, device.stream) == 0);
  const CUdeviceptr memory = device.upload(std::vector<float>(64, 1.0f));
  CHECK(cublasSetWorkspace_v2(handle, reinterpret_cast<void*>(memory), 256) == 0);
  CHECK(cublasSetWorkspace_v2(handle, reinterpret_cast<void*>(memory), 257) == 7);
  CHECK(cublasSetWorkspace_v2(handle, reinterpret_cast<void*>(memory + 4), 4) == 7);
  const float one = 1;
  // m n k 4; A and B of the same memory.
  const auto multiply = [&](int lda, int ldb, int ldc, int type, int type_c, CUdeviceptr a) {
    return cublasGemmEx(handle, 1, 0, 4, 4, 4, &one, reinterpret_cast<void*>(a), type, lda,
                        reinterpret_cast<void*>(memory), type, ldb, &one, reinterpret_cast<void*>(memory), type_c, ldc,
                        kCompute32F, -1);
  };
  CHECK(multiply(4, 4, 4, 0, 0, memory) == 0);
  CHECK(multiply(3, 4, 4, 0, 0, memory) == 7);
  CHECK(multiply(4, 3, 4, 0, 0, memory) == 7);
  CHECK(multiply(4, 4, 3, 0, 0, memory) == 7);
  CHECK(multiply(4, 4, 4, 14, 14, memory) == 0);
  CHECK(multiply(4, 4, 4, 14, 2, memory) == 15);
  CHECK(multiply(4, 4, 4, 0, 14, memory) == 15);
  CHECK(std::string(cublasGetStatusName(15)) == "CUBLAS_STATUS_NOT_SUPPORTED");
  OK(cuStreamSynchronize(device.stream));
  // The library reads what it is told to: the device finds out.
  CHECK(multiply(4, 4, 4, 0, 0, memory + 196) == 0);
  REFUSED(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(device.stream));
  CHECK(multiply(4, 4, 4, 0, 0, memory) == 13);
  CHECK(cublasDestroy_v2(handle) == 0);
  CHECK(cublasDestroy_v2(handle) == 1);
}

namespace {

// Both libraries on one stream, with a matrix of order n in column-major rows `leading` apart.
struct System {
  Device device;
  void* cublas = nullptr;
  void* cusolver = nullptr;
  size_t n, leading;
  std::vector<double> a;

  System(size_t n, size_t leading) : n(n), leading(leading), a(leading * n, NAN) {
    CHECK(cublasCreate_v2(&cublas) == 0);
    CHECK(cublasSetStream_v2(cublas, device.stream) == 0);
    CHECK(cusolverDnCreate(&cusolver) == 0);
    CHECK(cusolverDnSetStream(cusolver, device.stream) == 0);
    const std::vector<float> x = check::random<float>(n * n);
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < n; j++) {
        double sum = i == j ? 1 : 0;
        for (size_t k = 0; k < n; k++) {
          sum += check::wide(x[i * n + k]) * check::wide(x[j * n + k]);
        }
        a[j * leading + i] = sum;
      }
    }
  }
  ~System() {
    CHECK(cusolverDnDestroy(cusolver) == 0);
    CHECK(cublasDestroy_v2(cublas) == 0);
  }

  // What the factorisation says; the factor is at `matrix`.
  int factor(int fill, CUdeviceptr matrix) {
    int elements = 0;
    CHECK(cusolverDnDpotrf_bufferSize(cusolver, fill, static_cast<int>(n), reinterpret_cast<double*>(matrix),
                                      static_cast<int>(leading), &elements) == 0);
    const CUdeviceptr work = device.allocate(static_cast<size_t>(elements) * sizeof(double));
    const CUdeviceptr info = device.upload(std::vector<int>{-1});
    CHECK(cusolverDnDpotrf(cusolver, fill, static_cast<int>(n), reinterpret_cast<double*>(matrix),
                           static_cast<int>(leading), reinterpret_cast<double*>(work), elements - 1,
                           reinterpret_cast<int*>(info)) == 3);
    CHECK(cusolverDnDpotrf(cusolver, fill, static_cast<int>(n), reinterpret_cast<double*>(matrix),
                           static_cast<int>(leading), reinterpret_cast<double*>(work), elements,
                           reinterpret_cast<int*>(info)) == 0);
    CHECK(device.download<int>(info, 1)[0] == -1);
    OK(cuStreamSynchronize(device.stream));
    return device.download<int>(info, 1)[0];
  }

  int triangle(int fill, int operation, CUdeviceptr matrix, int columns, double alpha, CUdeviceptr b) {
    return cublasDtrsm_v2(cublas, 0, fill, operation, 0, static_cast<int>(n), columns, &alpha,
                          reinterpret_cast<const double*>(matrix), static_cast<int>(leading),
                          reinterpret_cast<double*>(b), static_cast<int>(leading));
  }
};

}  // namespace

TEST(standin_factors_and_solves) {
  for (const auto& [n, columns] : {std::pair<size_t, int>{1, 1}, {2, 3}, {7, 1}, {33, 5}, {70, 70}}) {
    for (int fill : {0, 1}) {
      System system(n, n + 2);
      std::vector<double> stored = system.a;
      for (size_t i = 0; i < n; i++) {  // the other triangle is not read
        for (size_t j = 0; j < i; j++) {
          stored[fill == 0 ? i * system.leading + j : j * system.leading + i] = NAN;
        }
      }
      const CUdeviceptr matrix = system.device.upload(stored);
      CHECK(system.factor(fill, matrix) == 0);
      std::vector<double> b(system.leading * static_cast<size_t>(columns));
      for (double& value : b) {
        value = std::normal_distribution<double>()(check::generator());
      }
      const CUdeviceptr right = system.device.upload(b);
      // L, then its transposed.
      CHECK(system.triangle(fill, fill, matrix, columns, 0.5, right) == 0);
      CHECK(system.triangle(fill, 1 - fill, matrix, columns, 1, right) == 0);
      OK(cuStreamSynchronize(system.device.stream));
      const auto x = system.device.download<double>(right, b.size());
      for (size_t column = 0; column < static_cast<size_t>(columns); column++) {
        for (size_t i = 0; i < system.leading; i++) {
          const size_t at = column * system.leading + i;
          double product = 0;
          for (size_t k = 0; i < n && k < n; k++) {
            product += system.a[k * system.leading + i] * x[column * system.leading + k];
          }
          CHECK_CLOSE(i < n ? product : x[at], i < n ? 0.5 * b[at] : b[at], i < n ? 1e-8 : 0,
                      "order " + std::to_string(n) + ", row " + std::to_string(i));
        }
      }
    }
  }
}

TEST(standin_says_which_minor_is_not_positive) {
  System system(9, 9);
  const auto factor = [&](size_t at, double value) {
    std::vector<double> a = system.a;
    a[at * 10] = value;
    return system.factor(1, system.device.upload(a));
  };
  CHECK(factor(4, -1) == 5);
  CHECK(factor(0, 0) == 1);
  CHECK(factor(4, NAN) == 0);
}

TEST(standin_checks_systems) {
  void* handle = nullptr;
  std::thread([&] { CHECK(cusolverDnCreate(&handle) == 1); }).join();
  System system(4, 4);
  int value = 0;
  CHECK(cusolverGetProperty(0, &value) == 0 && value == 12);
  CHECK(cusolverGetProperty(3, &value) == 3);
  CHECK(cusolverDnDpotrf_bufferSize(system.cusolver, 1, 4, nullptr, 3, &value) == 3);
  CHECK(cusolverDnDpotrf_bufferSize(system.cublas, 1, 4, nullptr, 4, &value) == 1);
  const CUdeviceptr matrix = system.device.upload(system.a);
  double one = 1;
  auto* const address = reinterpret_cast<double*>(matrix);
  CHECK(cublasDtrsm_v2(system.cublas, 0, 1, 1, 0, 4, 1, &one, address, 3, address, 4) == 7);
  CHECK(cublasDtrsm_v2(system.cublas, 0, 1, 1, 0, 4, 1, &one, address, 4, address, 3) == 7);
  CHECK(cublasDtrsm_v2(system.cublas, 1, 1, 1, 0, 4, 1, &one, address, 4, address, 4) == 15);
  // The device finds out what does not lie in its memory.
  CHECK(system.triangle(1, 1, matrix + 8, 1, 1, matrix) == 0);
  REFUSED(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(system.device.stream));
}
