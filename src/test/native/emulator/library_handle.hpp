// Code that the stand-ins of NVIDIA's libraries share: handles, each with a stream of the stand-in driver. Every
// library has a table of its own, and therefore nothing here has external linkage.
#pragma once

#include <mutex>
#include <set>

#include "cuda_driver.hpp"

namespace {

// The libraries' other codes differ.
constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1;

struct Handle {
  CUstream stream = nullptr;
  int math_mode = 0;  // of cuBLAS
};

std::mutex mutex;
std::set<Handle*> handles;

bool known(Handle* handle) {
  const std::lock_guard<std::mutex> lock(mutex);
  return handles.contains(handle);
}

bool has_context() {
  CUcontext context = nullptr;
  return cuCtxGetCurrent(&context) == CUDA_SUCCESS && context != nullptr;
}

int create(Handle** handle) {
  if (!has_context()) {
    return kNotInitialized;
  }
  *handle = new Handle;
  const std::lock_guard<std::mutex> lock(mutex);
  handles.insert(*handle);
  return kSuccess;
}

int destroy(Handle* handle) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (handles.erase(handle) == 0) {
    return kNotInitialized;
  }
  delete handle;
  return kSuccess;
}

int set_stream(Handle* handle, CUstream stream) {
  if (!known(handle)) {
    return kNotInitialized;
  }
  handle->stream = stream;
  return kSuccess;
}

// Major, minor or patch version; false for any other property.
bool get_version(const int (&version)[3], int property, int* value) {
  if (property < 0 || property > 2) {
    return false;
  }
  *value = version[property];
  return true;
}

}  // namespace
