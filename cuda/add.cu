// Elementwise sums. A thread takes four neighbours.
//
//   laco_add_f32_v1         x += y: 12 bytes and one operation per element; bound by memory
//   laco_add_bias_<T>_v1    the bias, from the L2, to every row of x: 8 bytes, 6 into 16 bits
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

template <int N, class T>
__device__ __forceinline__ Floats<N> sum(const float* x, const T* y) {
  Floats<N> result = load<N>(x);
  const Floats<N> added = load<N>(y);
#pragma unroll
  for (int i = 0; i < N; i++) {
    result[i] += added[i];
  }
  return result;
}

template <class T>
__device__ __forceinline__ void add_bias(const float* x, const T* bias, const Activations& out, int64_t n,
                                         int64_t columns) {
  const bool vectors = columns % 4 == 0 && aligned4(x) && aligned4(bias) && out.aligned4();
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    store(out, i, sum<decltype(width)::value>(x + i, bias + i % columns));
  });
}

}  // namespace

// grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_add_f32_v1(float* x, const float* y, int64_t n) {
  for_each_of_four(n, aligned4(x) && aligned4(y), [&](auto width, int64_t i) {
    store(x + i, sum<decltype(width)::value>(x + i, y + i));
  });
}
LACO_EXPORT(laco_add_f32_v1)

// x, out [n / columns, columns], out may be x; bias [columns]. The type of out is named by its code.
// grid = ceil(n / 1024).
#define LACO_ADD_BIAS(name, T)                                                                            \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                  \
      name(const float* x, const T* bias, void* out, int64_t n, int64_t columns, int32_t type) {          \
    add_bias(x, bias, {out, type}, n, columns);                                                           \
  }                                                                                                       \
  LACO_EXPORT(name)

LACO_ADD_BIAS(laco_add_bias_f32_v1, float)
LACO_ADD_BIAS(laco_add_bias_f16_v1, __half)
LACO_ADD_BIAS(laco_add_bias_bf16_v1, __nv_bfloat16)
