// Scale and soft-cap of logits, in place. A thread takes four neighbours.
//
//   laco_logits_f32_v1    x = scale * x, or soft_cap * tanh(scale * x / soft_cap) (Gemma 2): 8 bytes and some 20
//                         operations per element, which the product has just left in the L2; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

}  // namespace

// No soft-cap where soft_cap is 0. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_logits_f32_v1(float* x, int64_t n, float scale, float soft_cap) {
  for_each_of_four(n, aligned4(x), [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> values = load<N>(x + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      values[k] *= scale;
      if (soft_cap != 0) {
        values[k] = soft_cap * tanhf(values[k] / soft_cap);
      }
    }
    store(x + i, values);
  });
}
LACO_EXPORT(laco_logits_f32_v1)
