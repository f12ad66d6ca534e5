// Differences of rows, each times a number of its own. A thread takes four neighbours.
//
//   laco_scaled_difference_f32_v1    out = scale * (a - b): 12 bytes and two operations per element, 8 bytes where
//                                    there is no b; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

}  // namespace

// a, b, out [n / columns, columns], scale [n / columns]; b may be null: zeros. out may be a or b.
// grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_scaled_difference_f32_v1(const float* a, const float* b, const float* scale, float* out, int64_t n,
                                  int64_t columns) {
  const bool vectors = columns % 4 == 0 && aligned4(a) && aligned4(b) && aligned4(out);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const float factor = scale[i / columns];
    Floats<N> x = load<N>(a + i);
    if (b != nullptr) {
      const Floats<N> less = load<N>(b + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        x[k] -= less[k];
      }
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
      x[k] *= factor;
    }
    store(out + i, x);
  });
}
LACO_EXPORT(laco_scaled_difference_f32_v1)
