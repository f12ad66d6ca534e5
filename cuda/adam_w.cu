// A step of AdamW in f32 on many tensors: running means, the weight, and a cleared gradient. A thread takes four
// neighbours at a time.
//
//   laco_adam_w_<W>_v3    32 bytes per element and W's, with one root and one division: bound by memory; without a
//                         master 24, twice W's, and some 15 operations on integers
#include "adam_w.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 4;  // in which a block takes its elements, so that finding the tensor costs little
constexpr int64_t kElements = 4 * kThreads * kRounds;

template <class W>
__device__ __forceinline__ void adam_w(const AdamJob& job) {
  AdamStep step = job.step;
  if (job.damping != nullptr) {
    step.epsilon = *global(job.damping);
  }
  const bool finite = step.epsilon < infinity();
  float* const gradient = global(job.gradient);
  float* const mean = global(static_cast<float*>(job.mean));
  float* const square = global(job.square);
  const Trained<W> trained = job.trained<W>();
  const int64_t n = job.elements;
  const bool vectors = aligned4(gradient) && aligned4(mean) && aligned4(square) && trained.aligned4();
  const int64_t first = (blockIdx.x - job.first_block) * kElements;
#pragma unroll 1
  for (int round = 0; round < kRounds; round++) {
    for_four(first + 4 * (round * kThreads + static_cast<int>(threadIdx.x)), n, vectors, [&](auto width, int64_t i) {
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
}

}  // namespace

// jobs [count], in order of their blocks, each of ceil(elements / 4096). Where a damping is not finite only the gradient
// changes. grid = blocks of all jobs.
#define LACO_ADAM_W(name, W)                                                                                \
  extern "C" __global__ void __launch_bounds__(kThreads) name(const AdamJob* jobs, int32_t count) {         \
    adam_w<W>(job_of_block(jobs, count));                                                                   \
  }                                                                                                         \
  LACO_EXPORT(name)

LACO_ADAM_W(laco_adam_w_f32_v3, float)
LACO_ADAM_W(laco_adam_w_f16_v3, __half)
LACO_ADAM_W(laco_adam_w_bf16_v3, __nv_bfloat16)
