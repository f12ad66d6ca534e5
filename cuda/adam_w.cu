// A step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) in f32: running means, the
// weight, its rounded copy, and a cleared gradient. A thread takes four neighbours.
//
//   laco_adam_w_<W>_v2    32 bytes per element and W's, with one root and one division: bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// The numbers of a step, as TrainingOps.AdamW has them.
struct Step {
  float gradient_scale, beta1, rest1, beta2, rest2, step_size, correction, epsilon, decay;
};

template <class W>
__device__ __forceinline__ void adam_w(float* gradient, float* mean, float* square, float* master, W* weight,
                                       int64_t n, const float* damping, const Step& step) {
  const float least = damping != nullptr ? *damping : step.epsilon;
  const bool finite = least < infinity();
  const bool vectors = aligned4(gradient) && aligned4(mean) && aligned4(square) && aligned4(master) && aligned4(weight);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    if (!finite) {
      store(gradient + i, Floats<N>{});
      return;
    }
    Floats<N> g = load<N>(gradient + i), m = load<N>(mean + i), s = load<N>(square + i), w = load<N>(master + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      const float scaled = step.gradient_scale * g[k];
      g[k] = 0;
      m[k] = fmaf(step.rest1, scaled, step.beta1 * m[k]);
      s[k] = fmaf(step.rest2 * scaled, scaled, step.beta2 * s[k]);
      const float moved = step.step_size * m[k] / (sqrtf(s[k]) * step.correction + least);
      w[k] -= fmaf(step.decay, w[k], moved);
    }
    store(gradient + i, g);
    store(mean + i, m);
    store(square + i, s);
    store(master + i, w);
    store(weight + i, w);
  });
}

}  // namespace

// damping [1], taken in place of epsilon; null for that. Where it is not finite only the gradient changes.
// rest1, rest2: 1 - beta1, 1 - beta2, rounded once; correction: the inverse of TrainingOps.AdamW.squareCorrection;
// decay: rate times decay. grid = ceil(n / 1024).
#define LACO_ADAM_W(name, W)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                       \
      name(float* gradient, float* mean, float* square, float* master, W* weight, int64_t n, const float* damping, \
           float gradient_scale, float beta1, float rest1, float beta2, float rest2, float step_size,          \
           float correction, float epsilon, float decay) {                                                     \
    adam_w(gradient, mean, square, master, weight, n, damping,                                                 \
           Step{gradient_scale, beta1, rest1, beta2, rest2, step_size, correction, epsilon, decay});           \
  }                                                                                                            \
  LACO_EXPORT(name)

LACO_ADAM_W(laco_adam_w_f32_v2, float)
LACO_ADAM_W(laco_adam_w_f16_v2, __half)
LACO_ADAM_W(laco_adam_w_bf16_v2, __nv_bfloat16)
