// Conversions between f32 and the 16-bit types. A thread takes two vectors of four elements, a block's width
// apart, so that every load and store of a warp is one stretch of memory.
//
//   laco_widen_<T>_v1     exact
//   laco_narrow_<T>_v1    to nearest even; NaN stays NaN
//
// 6 bytes per element, an operation or two: bound by memory.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 2;

template <class From, class To>
__device__ __forceinline__ void convert(const From* __restrict__ from, To* __restrict__ to, int64_t n) {
  constexpr int kStep = 4 * kThreads;
  const int64_t start = static_cast<int64_t>(blockIdx.x) * kVectors * kStep;
  if (aligned4(from) && aligned4(to) && start + kVectors * kStep <= n) {
    Floats<4> x[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; v++) {
      x[v] = load<4>(from + start + v * kStep + 4 * threadIdx.x);
    }
#pragma unroll
    for (int v = 0; v < kVectors; v++) {
      store(to + start + v * kStep + 4 * threadIdx.x, x[v]);
    }
  } else {
    for (int64_t i = start + threadIdx.x; i < min(start + kVectors * kStep, n); i += kThreads) {
      store(to + i, load<1>(from + i));
    }
  }
}

}  // namespace

// grid = ceil(n / 2048).
#define LACO_CONVERT(name, From, To)                                 \
  extern "C" __global__ void __launch_bounds__(kThreads)             \
      name(const From* from, To* to, int64_t n) {                    \
    convert(from, to, n);                                            \
  }                                                                  \
  LACO_EXPORT(name)

LACO_CONVERT(laco_widen_f16_v1, __half, float)
LACO_CONVERT(laco_widen_bf16_v1, __nv_bfloat16, float)
LACO_CONVERT(laco_narrow_f16_v1, float, __half)
LACO_CONVERT(laco_narrow_bf16_v1, float, __nv_bfloat16)
