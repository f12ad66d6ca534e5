// A step of AdamW in f32: running means, the weight, and a cleared gradient. A thread takes four neighbours.
//
//   laco_adam_w_<W>_v2    32 bytes per element and W's, with one root and one division: bound by memory; without a
//                         master 24, twice W's, and some 15 operations on integers
#include "adam_w.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

template <class W>
__device__ __forceinline__ void adam_w(float* gradient, float* mean, float* square, const Trained<W>& trained,
                                       int64_t n, const float* damping, AdamStep step) {
  if (damping != nullptr) {
    step.epsilon = *damping;
  }
  const bool finite = step.epsilon < infinity();
  const bool vectors = aligned4(gradient) && aligned4(mean) && aligned4(square) && trained.aligned4();
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    if (!finite) {
      store(gradient + i, Floats<N>{});
      return;
    }
    const Floats<N> g = load<N>(gradient + i);
    Floats<N> m = load<N>(mean + i), s = load<N>(square + i), w = trained.template value<N>(i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      step.take(g[k], m[k], s[k], w[k]);
    }
    store(gradient + i, Floats<N>{});
    store(mean + i, m);
    store(square + i, s);
    trained.set(i, w);
  });
}

}  // namespace

// master [n]; null for none: the weight is rounded at random by the key. damping [1], taken in place of epsilon; null
// for that. Where it is not finite only the gradient changes. rest1, rest2: 1 - beta1, 1 - beta2, rounded once;
// correction: the inverse of TrainingOps.AdamW.squareCorrection; decay: rate times decay. grid = ceil(n / 1024).
#define LACO_ADAM_W(name, W)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                       \
      name(float* gradient, float* mean, float* square, float* master, W* weight, int64_t n, int64_t key,      \
           const float* damping, float gradient_scale, float beta1, float rest1, float beta2, float rest2,     \
           float step_size, float correction, float epsilon, float decay) {                                    \
    adam_w(gradient, mean, square, Trained<W>{master, weight, static_cast<uint64_t>(key)}, n, damping,         \
           AdamStep{gradient_scale, beta1, rest1, beta2, rest2, step_size, correction, epsilon, decay});       \
  }                                                                                                            \
  LACO_EXPORT(name)

LACO_ADAM_W(laco_adam_w_f32_v2, float)
LACO_ADAM_W(laco_adam_w_f16_v2, __half)
LACO_ADAM_W(laco_adam_w_bf16_v2, __nv_bfloat16)
