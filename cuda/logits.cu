// Scale and soft-cap of logits, in place. A thread takes four neighbours.
//
//   laco_logits_f32_v2    x = scale * factor * x, or soft_cap * tanh(scale * factor * x / soft_cap) (Gemma 2), with a
//                         factor for each column or none: 8 bytes and some 20 operations per element, which the
//                         product has just left in the L2; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

}  // namespace

// x [n / columns, columns], factors [columns] or null for ones. No soft-cap where soft_cap is 0. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_logits_f32_v2(float* x, const float* factors, int64_t n, int64_t columns, float scale, float soft_cap) {
  const bool vectors = aligned4(x) && aligned4(factors) && (factors == nullptr || columns % 4 == 0);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> values = load<N>(x + i);
    Floats<N> factor;
#pragma unroll
    for (int k = 0; k < N; k++) {
      factor[k] = scale;
    }
    if (factors != nullptr) {
      const Floats<N> own = load<N>(factors + i % columns);
#pragma unroll
      for (int k = 0; k < N; k++) {
        factor[k] *= own[k];
      }
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
      values[k] *= factor[k];
      if (soft_cap != 0) {
        values[k] = soft_cap * tanhf(values[k] / soft_cap);
      }
    }
    store(x + i, values);
  });
}
LACO_EXPORT(laco_logits_f32_v2)
