#include "driver.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace standin {
namespace {

thread_local CUcontext current = nullptr;
thread_local const char* call = "";

}  // namespace

Driver& driver() {
  static Driver one;
  return one;
}

CUresult refuse(CUresult code, const char* format, ...) {
  char text[1024];
  const int begin = std::snprintf(text, sizeof(text), "%s: ", call);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text + begin, sizeof(text) - static_cast<size_t>(begin), format, arguments);
  va_end(arguments);
  Driver& d = driver();
  d.last_error = text;
  if (d.log) {
    std::fprintf(stderr, "stand-in driver: error %d: %s\n", code, text);
  }
  return code;
}

CUresult wild(CUresult refused) {
  if (driver().real) {
    std::fprintf(stderr, "stand-in driver: %s: a real driver would end the process\n", driver().last_error.c_str());
    std::abort();
  }
  return refused;
}

bool is_sticky(CUresult code) {
  switch (code) {
    case 214:  // uncorrectable ECC error
    case 220:  // uncorrectable NVLink error
    case 226:  // contained hardware error
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case 702:  // launch timeout
    case 710:  // assert
    case 721:  // tensor memory leak
    case 810:  // MPS client terminated
    case 911:  // external device
    case 999:  // unknown
      return true;
    default:
      return code >= 714 && code <= CUDA_ERROR_LAUNCH_FAILED;
  }
}

CUcontext current_context() { return current; }

CUresult with_driver(const char* name, const std::function<CUresult(Driver&)>& action) {
  Driver& d = driver();
  const std::lock_guard<std::recursive_mutex> lock(d.mutex);
  call = name;
  return d.initialised ? action(d) : refuse(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called");
}

CUresult with_context(const char* name, const std::function<CUresult(CUctx_st&)>& action) {
  return with_driver(name, [&](Driver&) -> CUresult {
    if (current == nullptr) {
      return refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
    }
    if (current->retained == 0) {
      return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "this thread's current context was released");
    }
    if (current->sticky != CUDA_SUCCESS) {
      return current->sticky;
    }
    return action(*current);
  });
}

CUstream find_stream(CUctx_st& context, CUstream stream) {
  if (stream == nullptr) {
    return &context.default_stream;
  }
  for (const auto& one : context.streams) {
    if (one.get() == stream && !one->destroyed) {
      return stream;
    }
  }
  return nullptr;
}

void count(const std::string& name, int64_t more) { driver().work[name] += more; }

CUresult enqueue(CUctx_st& context, CUstream_st& stream, Operation operation) {
  if (stream.capturing != nullptr) {
    stream.capturing->operations.push_back(std::move(operation));
    return CUDA_SUCCESS;
  }
  if (driver().counts_only) {
    stream.done++;
    return CUDA_SUCCESS;
  }
  if (&stream != &context.default_stream) {
    stream.queue.push_back(std::move(operation));
    return CUDA_SUCCESS;
  }
  // The default stream waits for the blocking ones, and they for it: here it is simply never behind.
  for (const auto& other : context.streams) {
    if (other->blocking) {
      run_until(context, *other, other->queued());
    }
  }
  stream.queue.push_back(std::move(operation));
  return run_until(context, stream, stream.queued());
}

CUresult run_until(CUctx_st& context, CUstream_st& stream, uint64_t position) {
  while (context.sticky == CUDA_SUCCESS && stream.done < position) {
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    stream.done++;
    const CUresult status = operation.run();
    if (context.sticky == CUDA_SUCCESS) {
      context.sticky = status;
    }
  }
  return context.sticky;
}

CUresult run_all(CUctx_st& context) {
  for (const auto& stream : context.streams) {
    run_until(context, *stream, stream->queued());
  }
  return context.sticky;
}

CUresult wait_until(CUctx_st& context, CUstream_st& stream, uint64_t position) {
  Driver& d = driver();
  const bool opener = std::this_thread::get_id() == context.opener;
  while (!opener && d.holds_other_threads) {
    d.let_go.wait(d.mutex);
  }
  if (stream.waited < position) {
    if (opener) {
      d.synchronizations++;
    } else {
      count("waits of other threads", 1);
    }
    stream.waited = position;
  }
  return run_until(context, stream, position);
}

CUresult wait_for_all(CUctx_st& context) {
  bool busy = false;
  for (const auto& stream : context.streams) {
    busy = busy || stream->waited < stream->queued();
    stream->waited = stream->queued();
  }
  driver().synchronizations += busy ? 1 : 0;
  return run_all(context);
}

size_t most_shared(const Settings& settings) {
  const int capability = settings.major * 10 + settings.minor;
  const unsigned kilobytes = capability == 75 ? 64
                        : capability == 80 || capability == 87 ? 163
                        : capability / 10 == 8 || capability / 10 == 12 ? 99
                                                                        : 227;
  return size_t{kilobytes} * 1024;
}

void destroy(CUctx_st& context) {
  if (context.sticky == CUDA_SUCCESS) {
    run_all(context);
  }
  // Behind a sticky error no program can free what it has; in any other case it should have.
  if (context.sticky != CUDA_SUCCESS) {
    driver().live_allocations -= static_cast<int64_t>(context.memory.count());
  }
  context.retained = 0;
  context.sticky = CUDA_SUCCESS;
  context.memory.release_all();
  context.default_stream.queue.clear();
  context.streams.clear();
  context.events.clear();
  context.modules.clear();
  context.functions.clear();
  context.graphs.clear();
  context.executables.clear();
}

}  // namespace standin

using standin::Driver;
using standin::refuse;
using standin::with_context;
using standin::with_driver;

namespace {

CUresult with_device(const char* name, CUdevice device, const std::function<CUresult(Driver&)>& action) {
  return with_driver(name, [&](Driver& d) -> CUresult {
    return device >= 0 && device < d.settings.devices
               ? action(d)
               : refuse(CUDA_ERROR_INVALID_DEVICE, "device %d of %d", device, d.settings.devices);
  });
}

}  // namespace

CUresult cuInit(unsigned flags) {
  Driver& d = standin::driver();
  const std::lock_guard<std::recursive_mutex> lock(d.mutex);
  standin::call = "cuInit";
  if (flags != 0) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "flags %u", flags);
  }
  if (d.settings.devices == 0) {
    return refuse(CUDA_ERROR_NO_DEVICE, "no device");
  }
  d.initialised = true;
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
  Driver& d = standin::driver();
  const std::lock_guard<std::recursive_mutex> lock(d.mutex);
  *version = d.settings.driver_version;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  return with_driver("cuDeviceGetCount", [&](Driver& d) {
    *count = d.settings.devices;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return with_device("cuDeviceGet", ordinal, [&](Driver&) {
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return with_device("cuDeviceGetName", device, [&](Driver&) -> CUresult {
    if (length <= 0) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "length %d", length);
    }
    std::snprintf(name, static_cast<size_t>(length), "Laco emulated device");
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  return with_device("cuDeviceGetPCIBusId", device, [&](Driver&) -> CUresult {
    if (length < 13) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "length %d", length);
    }
    std::snprintf(id, static_cast<size_t>(length), "0000:%02x:00.0", device + 1);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  return with_device("cuDeviceTotalMem_v2", device, [&](Driver& d) {
    *bytes = d.settings.memory;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  return with_device("cuDeviceGetAttribute", device, [&](Driver& d) -> CUresult {
    switch (attribute) {
      case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        *value = 1024;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        *value = 64;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        *value = 0x7fffffff;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        *value = 65535;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *value = 48 * 1024;
        break;
      case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        *value = 32;
        break;
      case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        *value = 1000000;
        break;
      case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 8;
        break;
      case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        *value = 64;
        break;
      case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        // Small, since who measures reads twice as much before each time.
        *value = 128 << 10;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        *value = standin::kThreadsPerMultiprocessor;
        break;
      case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        *value = 2;
        break;
      case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        *value = 1;
        break;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = device < d.settings.old_devices ? 7 : d.settings.major;
        break;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = d.settings.minor;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = static_cast<int>(standin::most_shared(d.settings));
        break;
      default:
        return refuse(CUDA_ERROR_INVALID_VALUE, "the stand-in does not know attribute %d", attribute);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return with_device("cuDevicePrimaryCtxRetain", device, [&](Driver& d) {
    CUctx_st& primary = d.contexts[device];
    primary.device = device;
    primary.opener = primary.retained == 0 ? std::this_thread::get_id() : primary.opener;
    primary.retained++;
    *context = &primary;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return with_device("cuDevicePrimaryCtxRelease_v2", device, [&](Driver& d) -> CUresult {
    CUctx_st& primary = d.contexts[device];
    if (primary.retained == 0) {
      return refuse(CUDA_ERROR_INVALID_CONTEXT, "the primary context of device %d is not retained", device);
    }
    if (primary.retained > 1) {
      primary.retained--;
    } else {
      standin::destroy(primary);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return with_device("cuDevicePrimaryCtxReset_v2", device, [&](Driver& d) {
    CUctx_st& primary = d.contexts[device];
    const int retained = primary.retained;
    standin::destroy(primary);
    primary.retained = retained;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return with_device("cuDevicePrimaryCtxGetState", device, [&](Driver& d) {
    *flags = 0;
    *active = d.contexts[device].retained > 0 ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext context) {
  return with_driver("cuCtxSetCurrent", [&](Driver& d) -> CUresult {
    const bool known = std::any_of(std::begin(d.contexts), std::end(d.contexts),
                                   [&](const CUctx_st& one) { return &one == context && one.retained > 0; });
    if (context != nullptr && !known) {
      return refuse(CUDA_ERROR_INVALID_CONTEXT, "%p is no context", static_cast<void*>(context));
    }
    standin::current = context;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  return with_driver("cuCtxGetCurrent", [&](Driver&) {
    *context = standin::current;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice* device) {
  return with_context("cuCtxGetDevice", [&](CUctx_st& context) {
    *device = context.device;
    return CUDA_SUCCESS;
  });
}
