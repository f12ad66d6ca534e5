// The loss of distillation of each row of logits, and its gradient by them. Both logits of a row are whole, and the sums of
// their exponentials are known: laco_kl_divergence has made them.
//
//   laco_distillation_f32_v1    a block takes a row; 12 bytes and some 50 operations, most of them of two exponentials and
//                               a division, per entry of the vocabulary: an H100 has time for some 110
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// What the gradient at an entry follows from.
struct Row {
  float reference_shift, shift;  // the logarithms of the sums of exponentials
  float divergence_share, label_share;
  float scale, soft_cap;

  // By the product of which h, after scale and soft-cap, is the logit. `factor` belongs to the entry.
  __device__ __forceinline__ float gradient(float h, float r, float factor, bool is_target) const {
    const float share = expf(h - shift);
    const float wanted = expf(r - reference_shift);
    const float by_logit =
        divergence_share * (share - wanted) + label_share * (share - (is_target ? 1.0f : 0.0f));
    const float capped = soft_cap == 0 ? 0 : h / soft_cap;
    return by_logit * (scale * factor * (1 - capped * capped));
  }
};

template <int N>
__device__ __forceinline__ void differentiate(const Row& row, float* logits, const float* reference,
                                              const float* factors, int64_t columns, int64_t target) {
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < columns; i += kThreads * N) {
    Floats<N> values = load<N>(logits + i);
    const Floats<N> expected = load<N>(reference + i);
    Floats<N> factor;
#pragma unroll
    for (int k = 0; k < N; k++) {
      factor[k] = 1;
    }
    if (factors != nullptr) {
      factor = load<N>(factors + i);
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
      values[k] = row.gradient(values[k], expected[k], factor[k], i + k == target);
    }
    store(logits + i, values);
  }
}

}  // namespace

// logits, reference [rows, columns]; state [rows, 5], as DivergenceState.java reads it; targets [rows], negative for none;
// losses [rows]; factors [columns] of the logits, null for ones. logits become the gradients by the products that
// scale, factors and soft-cap made into logits (logits.cu). grid = rows.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_distillation_f32_v1(float* logits, const float* reference, const double* state, const int32_t* targets,
                             const float* factors, double* losses, int64_t columns, float label_share, float scale,
                             float soft_cap) {
  const int64_t r = blockIdx.x;
  logits += r * columns;
  reference += r * columns;
  state += 5 * r;
  const int64_t target = targets[r];
  const float labels = target < 0 ? 0.0f : label_share;
  const float divergences = 1 - label_share;
  __shared__ float shifts[2];
  if (threadIdx.x == 0) {
    const double reference_shift = state[0] + log(state[1]);
    const double shift = state[3] + log(state[4]);
    const double divergence = state[2] / state[1] - reference_shift + shift;
    // Rounding may make it negative; NaN stays.
    const double of_reference = divergence < 0 ? 0 : divergence;
    const double of_label = labels == 0 ? 0 : shift - static_cast<double>(logits[target]);
    losses[r] = static_cast<double>(divergences) * of_reference + static_cast<double>(labels) * of_label;
    shifts[0] = static_cast<float>(reference_shift);
    shifts[1] = static_cast<float>(shift);
  }
  __syncthreads();
  const Row row = {shifts[0], shifts[1], divergences, labels, scale, soft_cap};
  const bool vectors = columns % 4 == 0 && aligned4(logits) && aligned4(reference) && aligned4(factors);
  if (vectors) {
    differentiate<4>(row, logits, reference, factors, columns, target);
  } else {
    differentiate<1>(row, logits, reference, factors, columns, target);
  }
}
LACO_EXPORT(laco_distillation_f32_v1)
