// The stand-in libcusolver.so.12 (and .11): the Cholesky factorisation that the backend calls, on the stand-in
// driver's streams.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda_driver.hpp"
#include "library_handle.hpp"

namespace {

constexpr int kInvalidValue = 3;
constexpr int kExecutionFailed = 6;

enum Fill : int { kLower = 0, kUpper = 1 };

// Elements of workspace, as much as blocks of 32 columns would take.
int64_t workspace(int64_t n) { return 32 * n; }

struct Factor {
  int fill;
  int64_t n;
  double* a;
  int64_t leading;
  double* work;
  int64_t work_elements;
  int* info;
};

// Element (i, j) of the factor L, wherever it is stored.
double& at(const Factor& f, int64_t i, int64_t j) {
  return f.fill == kLower ? f.a[j * f.leading + i] : f.a[i * f.leading + j];
}

// L by rows: each is contiguous where the upper triangle is stored by columns.
int factor(const Factor& f) {
  for (int64_t i = 0; i < f.n; i++) {
    for (int64_t j = 0; j <= i; j++) {
      double sum = at(f, i, j);
      for (int64_t k = 0; k < j; k++) {
        sum -= at(f, i, k) * at(f, j, k);
      }
      if (j < i) {
        at(f, i, j) = sum / at(f, j, j);
      } else if (sum <= 0) {  // as libraries compare: NaN passes
        return static_cast<int>(i + 1);
      } else {
        at(f, i, i) = std::sqrt(sum);
      }
    }
  }
  return 0;
}

bool in_memory(const void* data, int64_t elements, size_t size) {
  return reinterpret_cast<uintptr_t>(data) % size == 0 &&
         laco_standin_is_device_memory(data, static_cast<size_t>(elements) * size) != 0;
}

CUresult run_checked(const void* payload) {
  const auto& f = *static_cast<const Factor*>(payload);
  if (!in_memory(f.a, (f.n - 1) * f.leading + f.n, sizeof(double)) || !in_memory(f.work, f.work_elements, sizeof(double)) ||
      !in_memory(f.info, 1, sizeof(int))) {
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  // It is the library's to write to.
  std::fill_n(f.work, f.work_elements, NAN);
  *f.info = factor(f);
  return CUDA_SUCCESS;
}

bool is_matrix(int fill, int n, int leading) {
  return (fill == kLower || fill == kUpper) && n >= 1 && leading >= n;
}

}  // namespace

LACO_API int cusolverGetProperty(int property, int* value) {
  return get_version({LACO_CUSOLVER_VERSION}, property, value) ? kSuccess : kInvalidValue;
}

LACO_API int cusolverDnCreate(Handle** handle) { return create(handle); }

LACO_API int cusolverDnDestroy(Handle* handle) { return destroy(handle); }

LACO_API int cusolverDnSetStream(Handle* handle, CUstream stream) { return set_stream(handle, stream); }

LACO_API int cusolverDnDpotrf_bufferSize(Handle* handle, int fill, int n, double*, int leading, int* elements) {
  if (!known(handle)) {
    return kNotInitialized;
  }
  if (!is_matrix(fill, n, leading)) {
    return kInvalidValue;
  }
  *elements = static_cast<int>(workspace(n));
  return kSuccess;
}

LACO_API int cusolverDnDpotrf(Handle* handle, int fill, int n, double* a, int leading, double* work, int elements,
                              int* info) {
  if (!known(handle) || !has_context()) {
    return kNotInitialized;
  }
  if (!is_matrix(fill, n, leading) || elements < workspace(n)) {
    return kInvalidValue;
  }
  laco_standin_count("operations of systems in f64", int64_t{n} * n * n / 3);
  const Factor payload{fill, n, a, leading, work, elements, info};
  return laco_standin_enqueue(handle->stream, run_checked, &payload, sizeof(payload)) == CUDA_SUCCESS ? kSuccess
                                                                                                     : kExecutionFailed;
}
