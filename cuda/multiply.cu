// Elementwise products. A thread takes four neighbours.
//
//   laco_multiply_f32_v1    out = x * y: 12 bytes and one operation per element; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

}  // namespace

// out may be x or y. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_multiply_f32_v1(const float* x, const float* y, float* out, int64_t n) {
  const bool vectors = aligned4(x) && aligned4(y) && aligned4(out);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> product = load<N>(x + i);
    const Floats<N> factor = load<N>(y + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      product[k] *= factor[k];
    }
    store(out + i, product);
  });
}
LACO_EXPORT(laco_multiply_f32_v1)
