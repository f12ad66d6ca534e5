// Device memory, pinned memory, copies.
#include <algorithm>
#include <cstring>
#include <vector>

#include "driver.hpp"

using standin::Allocation;
using standin::Driver;
using standin::driver;
using standin::Operation;
using standin::Place;
using standin::refuse;
using standin::with_context;

namespace {

// Every byte of a result of a device that only counts: 0.747 as f32, 0.00048 as f64. Of a single int, which is the
// status of a factorisation, it is 0.
constexpr unsigned char kCountedResult = 0x3f;

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

CUresult allocate(CUctx_st& context, void** to, size_t bytes, Place place) {
  Driver& d = driver();
  d.allocations++;
  if (d.fail_allocation == 1) {
    return refuse(CUDA_ERROR_OUT_OF_MEMORY, "%zu bytes: the test asked for this failure", bytes);
  }
  d.fail_allocation -= d.fail_allocation > 0 ? 1 : 0;
  if (bytes == 0) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "0 bytes");
  }
  const size_t used = context.memory.device_bytes();
  if (place == Place::kDevice && (used > d.settings.memory || bytes > d.settings.memory - used)) {
    return refuse(CUDA_ERROR_OUT_OF_MEMORY, "%zu bytes, %zu of %zu are taken", bytes, used, d.settings.memory);
  }
  *to = context.memory.allocate(bytes, place);
  if (*to == nullptr) {
    return refuse(CUDA_ERROR_OUT_OF_MEMORY, "%zu bytes", bytes);
  }
  d.live_allocations++;
  int64_t& most = d.work["most bytes of device memory"];
  most = std::max(most, static_cast<int64_t>(context.memory.device_bytes()));
  return CUDA_SUCCESS;
}

CUresult release(CUctx_st& context, void* begin, Place place) {
  // A driver frees when the device is idle.
  if (place == Place::kDevice) {
    if (standin::wait_for_all(context) != CUDA_SUCCESS) {
      return context.sticky;
    }
  }
  // Of pinned memory none promises that: what still copies from it must have been waited for.
  if (place == Place::kHost) {
    const Allocation* allocation = context.memory.around(begin);
    for (const auto& stream : context.streams) {
      for (const Operation& operation : stream->queue) {
        if (operation.host != nullptr && allocation != nullptr && context.memory.around(operation.host) == allocation) {
          return refuse(CUDA_ERROR_INVALID_VALUE, "%p is still being copied", begin);
        }
      }
    }
  }
  const size_t before = context.memory.count();
  const std::string problem = context.memory.release(begin, place);
  if (context.memory.count() == before) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "%p %s", begin, problem.c_str());
  }
  driver().live_allocations--;
  if (!problem.empty()) {
    context.sticky = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s", problem.c_str());
  }
  return context.sticky;
}

// Device memory that a call names.
CUresult check_device(const CUctx_st& context, CUdeviceptr address, size_t bytes) {
  const auto found = context.memory.find(pointer(address), bytes, Place::kDevice);
  if (found.allocation != nullptr) {
    return CUDA_SUCCESS;
  }
  const CUresult refused = refuse(CUDA_ERROR_INVALID_VALUE, "%s", found.problem.c_str());
  // What is in no allocation a real driver takes for memory of the host.
  return context.memory.around(pointer(address)) == nullptr ? standin::wild(refused) : refused;
}

// Host memory that a call names: pinned, or any that the driver does not know.
CUresult check_host(const CUctx_st& context, const void* address, size_t bytes, bool& pinned) {
  pinned = false;
  const auto found = context.memory.find(address, bytes, Place::kHost);
  const Allocation* around = context.memory.around(address);
  if (found.allocation != nullptr) {
    pinned = true;
  } else if (address == nullptr || (around != nullptr && bytes > 0)) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "%s", found.problem.c_str());
  }
  return CUDA_SUCCESS;
}

CUstream stream_or_refuse(CUctx_st& context, CUstream stream) {
  const CUstream found = standin::find_stream(context, stream);
  if (found == nullptr) {
    standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no stream", static_cast<void*>(stream)));
  }
  return found;
}

Operation copy_operation(void* to, const void* from, size_t bytes, const void* host) {
  return {[=] {
            std::copy_n(static_cast<const unsigned char*>(from), bytes, static_cast<unsigned char*>(to));
            return CUDA_SUCCESS;
          },
          host};
}

// Counts what a copy to the host finds that nobody has written to.
Operation look_for_poison(const void* from, size_t bytes) {
  return {[=] {
    constexpr uint32_t kPoison = 0xffffffff;  // no arithmetic makes this NaN
    const auto* begin = static_cast<const unsigned char*>(from);
    for (size_t at = 0; at + sizeof(kPoison) <= bytes; at += sizeof(kPoison)) {
      driver().unwritten_words += simt::unpack<uint32_t>(begin + at) == kPoison ? 1 : 0;
    }
    return CUDA_SUCCESS;
  }};
}

// Host to device. From pinned memory the device reads when it comes to it; other memory the driver has read
// when it returns.
CUresult upload(CUctx_st& context, CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  bool pinned;
  CUresult status = check_device(context, to, bytes);
  status = status != CUDA_SUCCESS ? status : check_host(context, from, bytes, pinned);
  if (status != CUDA_SUCCESS) {
    return status;
  }
  const CUstream found = stream_or_refuse(context, stream);
  if (found == nullptr) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  standin::count("uploads", 1);
  standin::count("uploaded bytes", static_cast<int64_t>(bytes));
  if (driver().counts_only) {
    found->done++;
    return CUDA_SUCCESS;
  }
  if (pinned) {
    return standin::enqueue(context, *found, copy_operation(pointer(to), from, bytes, from));
  }
  const auto* begin = static_cast<const unsigned char*>(from);
  return standin::enqueue(context, *found, {[to, staged = std::vector<unsigned char>(begin, begin + bytes)] {
                            std::copy(staged.begin(), staged.end(), static_cast<unsigned char*>(pointer(to)));
                            return CUDA_SUCCESS;
                          }});
}

// Device to host. Into pinned memory the device writes when it comes to it; for other memory the driver waits.
CUresult download(CUctx_st& context, void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  bool pinned;
  CUresult status = check_device(context, from, bytes);
  status = status != CUDA_SUCCESS ? status : check_host(context, to, bytes, pinned);
  if (status != CUDA_SUCCESS) {
    return status;
  }
  const CUstream found = stream_or_refuse(context, stream);
  if (found == nullptr) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  standin::count("downloads", 1);
  standin::count("downloaded bytes", static_cast<int64_t>(bytes));
  if (driver().counts_only) {
    found->done++;
    std::memset(to, bytes == sizeof(int) ? 0 : kCountedResult, bytes);
    return CUDA_SUCCESS;
  }
  status = standin::enqueue(context, *found, look_for_poison(pointer(from), bytes));
  status = status != CUDA_SUCCESS ? status
                                  : standin::enqueue(context, *found, copy_operation(to, pointer(from), bytes, to));
  return pinned || status != CUDA_SUCCESS ? status : standin::run_until(context, *found, found->queued());
}

CUresult copy_on_device(CUctx_st& context, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  CUresult status = check_device(context, to, bytes);
  status = status != CUDA_SUCCESS ? status : check_device(context, from, bytes);
  if (status != CUDA_SUCCESS) {
    return status;
  }
  if (to < from + bytes && from < to + bytes) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "%zu bytes from %p to %p overlap", bytes, pointer(from), pointer(to));
  }
  const CUstream found = stream_or_refuse(context, stream);
  if (found == nullptr) {
    return CUDA_ERROR_INVALID_HANDLE;
  }
  standin::count("copies on the device", 1);
  return standin::enqueue(context, *found, copy_operation(pointer(to), pointer(from), bytes, nullptr));
}

template <class T>
CUresult fill(CUctx_st& context, CUdeviceptr to, T value, size_t count, CUstream stream) {
  if (to % sizeof(T) != 0) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "%p is not aligned to %zu bytes", pointer(to), sizeof(T));
  }
  if (const CUresult status = check_device(context, to, count * sizeof(T)); status != CUDA_SUCCESS) {
    return status;
  }
  const CUstream found = stream_or_refuse(context, stream);
  return found == nullptr ? CUDA_ERROR_INVALID_HANDLE : standin::enqueue(context, *found, {[=] {
    std::fill_n(static_cast<T*>(pointer(to)), count, value);
    return CUDA_SUCCESS;
  }});
}

}  // namespace

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  return with_context("cuMemGetInfo_v2", [&](CUctx_st& context) {
    const size_t used = context.memory.device_bytes();
    *total = driver().settings.memory;
    *free = used < *total ? *total - used : 0;
    if (driver().real) {
      // In pages of 2 MB, of which other processes take some now and then.
      constexpr size_t kPage = size_t{2} << 20;
      *free = *free / kPage * kPage;
      *free -= std::min(*free, kPage * static_cast<size_t>(driver().allocations % 4));
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  return with_context("cuMemAlloc_v2", [&](CUctx_st& context) {
    void* begin = nullptr;
    const CUresult status = allocate(context, &begin, bytes, Place::kDevice);
    if (status == CUDA_SUCCESS) {
      *address = reinterpret_cast<CUdeviceptr>(begin);
    }
    return status;
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return with_context("cuMemFree_v2",
                      [&](CUctx_st& context) { return release(context, pointer(address), Place::kDevice); });
}

CUresult cuMemAllocHost_v2(void** begin, size_t bytes) {
  return with_context("cuMemAllocHost_v2",
                      [&](CUctx_st& context) { return allocate(context, begin, bytes, Place::kHost); });
}

CUresult cuMemHostAlloc(void** begin, size_t bytes, unsigned) { return cuMemAllocHost_v2(begin, bytes); }

CUresult cuMemFreeHost(void* begin) {
  return with_context("cuMemFreeHost", [&](CUctx_st& context) { return release(context, begin, Place::kHost); });
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return with_context("cuMemcpyHtoD_v2",
                      [&](CUctx_st& context) { return upload(context, to, from, bytes, nullptr); });
}

CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return with_context("cuMemcpyDtoH_v2",
                      [&](CUctx_st& context) { return download(context, to, from, bytes, nullptr); });
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return with_context("cuMemcpyDtoD_v2",
                      [&](CUctx_st& context) { return copy_on_device(context, to, from, bytes, nullptr); });
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return with_context("cuMemcpyHtoDAsync_v2",
                      [&](CUctx_st& context) { return upload(context, to, from, bytes, stream); });
}

CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return with_context("cuMemcpyDtoHAsync_v2",
                      [&](CUctx_st& context) { return download(context, to, from, bytes, stream); });
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return with_context("cuMemcpyDtoDAsync_v2",
                      [&](CUctx_st& context) { return copy_on_device(context, to, from, bytes, stream); });
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return with_context("cuMemsetD8_v2", [&](CUctx_st& context) { return fill(context, to, value, count, nullptr); });
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return with_context("cuMemsetD8Async", [&](CUctx_st& context) { return fill(context, to, value, count, stream); });
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  return with_context("cuMemsetD32_v2", [&](CUctx_st& context) { return fill(context, to, value, count, nullptr); });
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
  return with_context("cuMemsetD32Async", [&](CUctx_st& context) { return fill(context, to, value, count, stream); });
}

int laco_standin_is_device_memory(const void* address, size_t bytes) {
  const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  const CUcontext context = standin::current_context();
  return context != nullptr && context->memory.find(address, bytes, Place::kDevice).allocation != nullptr ? 1 : 0;
}
