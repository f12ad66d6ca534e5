// Conversions between f32 and the 16-bit types. A thread takes two vectors of four elements, a block's width
// apart, so that every load and store of a warp is one stretch of memory.
//
//   laco_widen_<T>_v1     exact
//   laco_narrow_<T>_v2    to nearest even; NaN stays NaN. Up to four tensors, so that those of one op take one launch
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

// grid = (ceil(n / 2048) of the largest, number of tensors); arguments of others are not used.
#define LACO_NARROW(name, To)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                        \
      name(const float* from0, const float* from1, const float* from2, const float* from3, To* to0, To* to1,    \
           To* to2, To* to3, int64_t n0, int64_t n1, int64_t n2, int64_t n3) {                                  \
    switch (blockIdx.y) {                                                                                       \
      case 0:                                                                                                   \
        convert(from0, to0, n0);                                                                                \
        break;                                                                                                  \
      case 1:                                                                                                   \
        convert(from1, to1, n1);                                                                                \
        break;                                                                                                  \
      case 2:                                                                                                   \
        convert(from2, to2, n2);                                                                                \
        break;                                                                                                  \
      default:                                                                                                  \
        convert(from3, to3, n3);                                                                                \
    }                                                                                                           \
  }                                                                                                             \
  LACO_EXPORT(name)

LACO_NARROW(laco_narrow_f16_v2, __half)
LACO_NARROW(laco_narrow_bf16_v2, __nv_bfloat16)
