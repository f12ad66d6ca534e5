// The sums from which the host computes the KL divergence of two distributions over the vocabulary. For each row of the
// reference's logits r and of the logits h, with their largest values max(r) and max(h): max(r), max(h), and the sums
// of exp(r - max(r)), of exp(r - max(r)) (r - h), and of exp(h - max(h)). The vocabulary is read one panel after the
// other, so that no more than a panel of logits ever exists.
//
//   laco_kl_divergence_f32_v1    reads each logit once: every thread keeps maxima of its own and rescales its sums
//                                where a run of 16 exceeds them. 8 bytes and about 35 operations per entry; in the time
//                                of 8 bytes an H100 does about 150 operations.
#include "softmax.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // vectors of a run; their terms are added up in f32 before f64 takes over

// The state of some entries; of no entries: -infinity and 0.
struct Sums {
  float reference_most = -infinity();
  float most = -infinity();
  double reference_total = 0;
  double difference = 0;
  double total = 0;

  // The same sums relative to larger maxima.
  __device__ __forceinline__ void raise(float to_reference_most, float to_most) {
    const double factor = scale(reference_most, to_reference_most);
    reference_total *= factor;
    difference *= factor;
    total *= scale(most, to_most);
    reference_most = to_reference_most;
    most = to_most;
  }
};

// Of this thread's entries.
template <int N>
__device__ __forceinline__ Sums sums_of_thread(const float* logits, const float* reference, int64_t columns) {
  const int64_t count = columns / N;
  Sums sums;
  for (int64_t v = threadIdx.x; v < count; v += kUnroll * kThreads) {
    Floats<N> h[kUnroll], r[kUnroll];
    float reference_most = sums.reference_most, most = sums.most;
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
      const int64_t at = v + k * kThreads;
      if (at < count) {
        h[k] = load<N>(logits + at * N);
        r[k] = load<N>(reference + at * N);
      } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
          h[k][i] = r[k][i] = -infinity();
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        reference_most = fmaxf(reference_most, r[k][i]);
        most = fmaxf(most, h[k][i]);
      }
    }
    sums.raise(reference_most, most);
    float reference_total = 0, difference = 0, total = 0;
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float p = expf(r[k][i] - shift_of(reference_most));
        reference_total += p;
        // A term whose exponential is 0 adds 0, even where a logit is infinite.
        difference += p == 0.0f ? 0.0f : p * (r[k][i] - h[k][i]);
        total += expf(h[k][i] - shift_of(most));
      }
    }
    sums.reference_total += static_cast<double>(reference_total);
    sums.difference += static_cast<double>(difference);
    sums.total += static_cast<double>(total);
  }
  return sums;
}

// Gives all lanes the sums of the warp.
__device__ __forceinline__ Sums sums_of_warp(Sums own) {
  own.raise(warp_max(own.reference_most), warp_max(own.most));
  own.reference_total = warp_sum(own.reference_total);
  own.difference = warp_sum(own.difference);
  own.total = warp_sum(own.total);
  return own;
}

}  // namespace

// logits, reference [rows, columns] of the entries first .. first + columns of the vocabulary. state [rows, 5], as
// DivergenceState.java reads it, is initialised where first is 0. grid = rows.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_kl_divergence_f32_v1(const float* logits, const float* reference, double* state, int64_t columns,
                              int64_t first) {
  const float* row = logits + blockIdx.x * columns;
  const float* reference_row = reference + blockIdx.x * columns;
  const bool vectors = columns % 4 == 0 && aligned4(row) && aligned4(reference_row);
  const Sums own = sums_of_warp(vectors ? sums_of_thread<4>(row, reference_row, columns)
                                        : sums_of_thread<1>(row, reference_row, columns));
  // Not an array of Sums: shared memory is not initialised.
  __shared__ float mosts[kThreads / kWarp][2];
  __shared__ double totals[kThreads / kWarp][3];
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  if (lane == 0) {
    mosts[warp][0] = own.reference_most;
    mosts[warp][1] = own.most;
    totals[warp][0] = own.reference_total;
    totals[warp][1] = own.difference;
    totals[warp][2] = own.total;
  }
  __syncthreads();
  if (warp > 0) {
    return;
  }
  Sums panel;
  if (lane < kThreads / kWarp) {
    panel.reference_most = mosts[lane][0];
    panel.most = mosts[lane][1];
    panel.reference_total = totals[lane][0];
    panel.difference = totals[lane][1];
    panel.total = totals[lane][2];
  }
  panel = sums_of_warp(panel);
  if (lane == 0) {
    double* to = state + 5 * static_cast<int64_t>(blockIdx.x);
    if (first > 0) {
      Sums before;
      before.reference_most = static_cast<float>(to[0]);
      before.reference_total = to[1];
      before.difference = to[2];
      before.most = static_cast<float>(to[3]);
      before.total = to[4];
      const float reference_most = fmaxf(before.reference_most, panel.reference_most);
      const float most = fmaxf(before.most, panel.most);
      before.raise(reference_most, most);
      panel.raise(reference_most, most);
      panel.reference_total += before.reference_total;
      panel.difference += before.difference;
      panel.total += before.total;
    }
    to[0] = static_cast<double>(panel.reference_most);
    to[1] = panel.reference_total;
    to[2] = panel.difference;
    to[3] = static_cast<double>(panel.most);
    to[4] = panel.total;
  }
}
LACO_EXPORT(laco_kl_divergence_f32_v1)
