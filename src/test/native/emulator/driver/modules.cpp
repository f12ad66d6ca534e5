// Modules, functions, launches.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver.hpp"

using standin::driver;
using standin::EntryPoint;
using standin::Place;
using standin::refuse;
using standin::with_context;

namespace {

constexpr size_t kSharedWithoutAsking = 48 * 1024;
// Of each block, for the system.
constexpr size_t kReservedShared = 1024;

CUresult load(CUctx_st& context, CUmodule* module, const void* image) {
  if (image == nullptr) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "no image");
  }
  auto loaded = std::make_unique<CUmod_st>();
  std::string reason;
  CUresult status = standin::read_image(image, loaded->image, reason);
  if (status == CUDA_SUCCESS) {
    const standin::Settings& settings = driver().settings;
    status = standin::select(loaded->image, settings.major, settings.minor, settings.driver_version, reason);
  }
  if (status != CUDA_SUCCESS) {
    return refuse(status, "%s", reason.c_str());
  }
  *module = context.modules.emplace_back(std::move(loaded)).get();
  return CUDA_SUCCESS;
}

bool is_module(const CUctx_st& context, CUmodule module) {
  return std::any_of(context.modules.begin(), context.modules.end(),
                     [&](const auto& one) { return one.get() == module && !one->unloaded; });
}

bool is_function(const CUctx_st& context, CUfunction function) {
  return std::any_of(context.functions.begin(), context.functions.end(),
                     [&](const auto& one) { return one.get() == function && !one->module->unloaded; });
}

bool is_of_file(const simt::Kernel& kernel, const std::string& operation) {
  const std::string file = kernel.file;
  const std::string name = "/" + operation + ".cu";
  return file.size() >= name.size() && file.compare(file.size() - name.size(), name.size(), name) == 0;
}

bool has(const standin::Image& image, const simt::Kernel& kernel) {
  if (!image.operation.empty()) {
    return is_of_file(kernel, image.operation);
  }
  if (image.cubin != nullptr) {
    return image.cubin->entry_points.contains(kernel.name);
  }
  return image.text->text.find(std::string(".entry ") + kernel.name + "(") != std::string::npos;
}

// The kernel that the emulator has must be the one that the code is of.
bool same_parameters(const simt::Kernel& kernel, const EntryPoint& entry) {
  bool same = entry.parameter_bytes == kernel.parameter_bytes && entry.parameters.size() == kernel.parameter_count;
  for (unsigned i = 0; same && i < kernel.parameter_count; i++) {
    const auto found = entry.parameters.find(i);
    same = found != entry.parameters.end() && found->second.offset == kernel.parameters[i].offset &&
           found->second.size == kernel.parameters[i].size;
  }
  return same;
}

// A packed buffer, or one pointer for every parameter.
CUresult pack(const simt::Kernel& kernel, void** parameters, void** extra, std::vector<unsigned char>& packed) {
  packed.assign(kernel.parameter_bytes, 0);
  if (parameters != nullptr) {
    for (unsigned i = 0; i < kernel.parameter_count; i++) {
      std::memcpy(packed.data() + kernel.parameters[i].offset, parameters[i], kernel.parameters[i].size);
    }
    return CUDA_SUCCESS;
  }
  const void* buffer = nullptr;
  size_t bytes = 0;
  for (void** option = extra; option != nullptr && *option != CU_LAUNCH_PARAM_END; option += 2) {
    if (*option == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      buffer = option[1];
    } else if (*option == CU_LAUNCH_PARAM_BUFFER_SIZE) {
      bytes = *static_cast<const size_t*>(option[1]);
    } else {
      return refuse(CUDA_ERROR_INVALID_VALUE, "%s: launch option %p", kernel.name, *option);
    }
  }
  if (bytes != kernel.parameter_bytes || (bytes > 0 && buffer == nullptr)) {
    return refuse(CUDA_ERROR_INVALID_VALUE, "%s has %u bytes of parameters, was given %zu", kernel.name,
                  kernel.parameter_bytes, bytes);
  }
  std::copy_n(static_cast<const unsigned char*>(buffer), bytes, packed.data());
  return CUDA_SUCCESS;
}

// What a device finds out when the kernel uses its pointers.
CUresult check_pointers(const CUctx_st& context, const simt::Kernel& kernel, const unsigned char* packed) {
  for (unsigned i = 0; i < kernel.parameter_count; i++) {
    const simt::Parameter& parameter = kernel.parameters[i];
    if (parameter.points_to_alignment == 0) {
      continue;
    }
    const auto* pointer = simt::unpack<const void*>(packed + parameter.offset);
    if (pointer != nullptr && context.memory.around(pointer) == nullptr) {
      const auto found = context.memory.find(pointer, 1, Place::kDevice);
      return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s: parameter %u: %s", kernel.name, i, found.problem.c_str());
    }
    if (reinterpret_cast<uintptr_t>(pointer) % parameter.points_to_alignment != 0) {
      return refuse(CUDA_ERROR_MISALIGNED_ADDRESS, "%s: parameter %u: %p is not aligned to %u bytes", kernel.name, i,
                    pointer, parameter.points_to_alignment);
    }
  }
  return CUDA_SUCCESS;
}

CUresult run(const CUctx_st& context, const simt::Kernel& kernel, dim3 grid, dim3 block, size_t shared_bytes,
             const unsigned char* packed) {
  if (const CUresult status = check_pointers(context, kernel, packed); status != CUDA_SUCCESS) {
    return status;
  }
  const CUresult status = simt::launch(kernel, grid, block, shared_bytes, packed);
  return status == CUDA_SUCCESS ? status : refuse(status, "%s", simt::last_error());
}

}  // namespace

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return with_context("cuModuleLoadData", [&](CUctx_st& context) { return load(context, module, image); });
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, int* options, void** values) {
  const CUresult status = cuModuleLoadData(module, image);
  char* log = nullptr;
  size_t log_bytes = 0;
  for (unsigned i = 0; i < count; i++) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) {
      log = static_cast<char*>(values[i]);
    } else if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
      log_bytes = reinterpret_cast<size_t>(values[i]);
    }
  }
  if (status != CUDA_SUCCESS && log != nullptr && log_bytes > 0) {
    std::snprintf(log, log_bytes, "%s", driver().last_error.c_str());
  }
  return status;
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) { return cuModuleLoadData(module, image); }

CUresult cuModuleUnload(CUmodule module) {
  return with_context("cuModuleUnload", [&](CUctx_st& context) -> CUresult {
    if (!is_module(context, module)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no module", static_cast<void*>(module)));
    }
    // A driver unloads when the device is idle.
    standin::run_all(context);
    module->unloaded = true;
    return context.sticky;
  });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return with_context("cuModuleGetFunction", [&](CUctx_st& context) -> CUresult {
    if (!is_module(context, module)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no module", static_cast<void*>(module)));
    }
    const simt::Kernel* kernel = simt::find(name);
    if (kernel == nullptr || !has(module->image, *kernel)) {
      return refuse(CUDA_ERROR_NOT_FOUND, "no kernel %s in %s", name, kernel == nullptr ? "the emulator" : "the module");
    }
    CUfunc_st made{kernel, module, 0, 0};
    for (const standin::Cubin& cubin : module->image.cubins) {
      const auto entry = cubin.entry_points.find(name);
      if (entry == cubin.entry_points.end() || !same_parameters(*kernel, entry->second)) {
        return refuse(CUDA_ERROR_INVALID_IMAGE, "%s has other parameters in the module's code for %d than in its source",
                      name, cubin.architecture);
      }
      made.static_shared = std::max(made.static_shared, entry->second.shared_bytes);
    }
    made.static_shared += driver().settings.static_shared;
    made.max_dynamic_shared = kSharedWithoutAsking - std::min(kSharedWithoutAsking, made.static_shared);
    *function = context.functions.emplace_back(std::make_unique<CUfunc_st>(made)).get();
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function) {
  return with_context("cuFuncGetAttribute", [&](CUctx_st& context) -> CUresult {
    if (!is_function(context, function)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", static_cast<void*>(function)));
    }
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = static_cast<int>(function->kernel->max_threads);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = static_cast<int>(function->static_shared);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = 0;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = static_cast<int>(function->max_dynamic_shared);
        return CUDA_SUCCESS;
      default:
        return refuse(CUDA_ERROR_INVALID_VALUE, "the stand-in does not know attribute %d", attribute);
    }
  });
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  return with_context("cuFuncSetAttribute", [&](CUctx_st& context) -> CUresult {
    if (!is_function(context, function)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", static_cast<void*>(function)));
    }
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "the stand-in does not set attribute %d", attribute);
    }
    const size_t most = standin::most_shared(driver().settings) - function->static_shared;
    if (value < 0 || static_cast<size_t>(value) > most) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "%s: %d bytes of dynamic shared memory, the device has %zu",
                    function->kernel->name, value, most);
    }
    function->max_dynamic_shared = static_cast<size_t>(value);
    return CUDA_SUCCESS;
  });
}

CUresult cuLaunchKernel(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                        unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream stream, void** parameters,
                        void** extra) {
  return with_context("cuLaunchKernel", [&](CUctx_st& context) -> CUresult {
    standin::Driver& d = driver();
    d.launches++;
    CUresult injected = CUDA_SUCCESS;
    if (d.fail_launch > 0 && --d.fail_launch == 0) {
      injected = d.launch_failure;
    }
    if (injected != CUDA_SUCCESS && !standin::is_sticky(injected)) {
      return refuse(injected, "the test asked for this failure");
    }
    if (!is_function(context, function)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", static_cast<void*>(function)));
    }
    const CUstream found = standin::find_stream(context, stream);
    if (found == nullptr) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no stream", static_cast<void*>(stream)));
    }
    const simt::Kernel& kernel = *function->kernel;
    const dim3 grid(gridX, gridY, gridZ);
    const dim3 block(blockX, blockY, blockZ);
    std::vector<unsigned char> packed;
    if (const CUresult status = pack(kernel, parameters, extra, packed); status != CUDA_SUCCESS) {
      return status;
    }
    if (const CUresult status = simt::check_launch(kernel, grid, block, sharedBytes); status != CUDA_SUCCESS) {
      return refuse(status, "%s", simt::last_error());
    }
    if (sharedBytes > function->max_dynamic_shared) {
      return refuse(CUDA_ERROR_INVALID_VALUE,
                    "%s: %u bytes of dynamic shared memory, it may have %zu (cuFuncSetAttribute raises that)",
                    kernel.name, sharedBytes, function->max_dynamic_shared);
    }
    standin::count(std::string("launches of ") + kernel.name, 1);
    return standin::enqueue(context, *found,
                            {[&context, &kernel, grid, block, sharedBytes, injected, packed = std::move(packed)] {
                              return injected != CUDA_SUCCESS
                                         ? refuse(injected, "%s: the test asked for this failure", kernel.name)
                                         : run(context, kernel, grid, block, sharedBytes, packed.data());
                            }});
  });
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
  for (unsigned i = 0; i < config->numAttrs; i++) {
    const CUlaunchAttribute& attribute = config->attrs[i];
    const auto& cluster = attribute.clusterDim;
    if (attribute.id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION || cluster.x * cluster.y * cluster.z != 1) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "the stand-in has no clusters, and no launch attribute %d", attribute.id);
    }
  }
  return cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                        config->blockDimY, config->blockDimZ, config->sharedMemBytes, config->hStream, parameters,
                        extra);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                     size_t sharedBytes) {
  return with_context("cuOccupancyMaxActiveBlocksPerMultiprocessor", [&](CUctx_st& context) -> CUresult {
    if (!is_function(context, function)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", static_cast<void*>(function)));
    }
    constexpr size_t kMostBlocks = 32;
    const auto size = static_cast<size_t>(threads);
    const size_t shared = function->static_shared + sharedBytes + kReservedShared;
    *blocks = threads < 1 || size > function->kernel->max_threads
                  ? 0
                  : static_cast<int>(std::min({kMostBlocks, standin::kThreadsPerMultiprocessor / size,
                                               (standin::most_shared(driver().settings) + kReservedShared) / shared}));
    return CUDA_SUCCESS;
  });
}

CUresult laco_standin_enqueue(CUstream stream, CUresult (*run)(const void*), const void* payload, size_t bytes) {
  return with_context("laco_standin_enqueue", [&](CUctx_st& context) -> CUresult {
    const CUstream found = standin::find_stream(context, stream);
    if (found == nullptr) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no stream", static_cast<void*>(stream)));
    }
    const auto* begin = static_cast<const unsigned char*>(payload);
    return standin::enqueue(context, *found, {[run, copy = std::vector<unsigned char>(begin, begin + bytes)] {
                              return run(copy.data());
                            }});
  });
}
