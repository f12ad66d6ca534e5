// The sums from which the host computes log-probabilities: for each row of logits the largest, the sum of
// exp(logit - largest), and the target's logit. The vocabulary is read one panel after the other, so that no more
// than a panel of logits ever exists.
//
//   laco_log_probability_f32_v1    reads each logit once: every thread keeps a maximum of its own and rescales
//                                  its sum where a run of 16 exceeds it. 4 bytes and some 15 operations per
//                                  logit, which the product has just left in the L2.
#include "softmax.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // vectors of a run; their exponentials are added up in f32 before f64 takes over

// The largest of some logits, and the sum of exp(logit - largest); of no logits: -infinity and 0.
struct Sum {
  float most;
  double total;
};

// Of this thread's logits.
template <int N>
__device__ __forceinline__ Sum sum_of_thread(const float* row, int64_t columns) {
  const int64_t count = columns / N;
  Sum sum = {-infinity(), 0};
  for (int64_t v = threadIdx.x; v < count; v += kUnroll * kThreads) {
    Floats<N> x[kUnroll];
    float most = sum.most;
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
      const int64_t at = v + k * kThreads;
      if (at < count) {
        x[k] = load<N>(row + at * N);
      } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
          x[k][i] = -infinity();
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        most = fmaxf(most, x[k][i]);
      }
    }
    const float shift = shift_of(most);
    float run = 0;
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        run += expf(x[k][i] - shift);
      }
    }
    sum = {most, sum.total * scale(sum.most, most) + static_cast<double>(run)};
  }
  return sum;
}

// Gives all lanes the state of the warp.
__device__ __forceinline__ Sum sum_of_warp(Sum own) {
  const float most = warp_max(own.most);
  return {most, warp_sum(own.total * scale(own.most, most))};
}

}  // namespace

// logits [rows, columns] of the entries first .. first + columns of the vocabulary. State per row: most, total and
// target, initialised where first is 0. Rows with a negative target are skipped. grid = rows.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_log_probability_f32_v1(const float* logits, const int32_t* targets, double* total, float* most,
                                float* target, int64_t columns, int64_t first) {
  const int64_t r = blockIdx.x;
  if (targets[r] < 0) {
    return;
  }
  const float* row = logits + r * columns;
  const Sum own = sum_of_warp(columns % 4 == 0 && aligned4(row) ? sum_of_thread<4>(row, columns)
                                                                : sum_of_thread<1>(row, columns));
  __shared__ Sum of_warps[kThreads / kWarp];
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  if (lane == 0) {
    of_warps[warp] = own;
  }
  __syncthreads();
  if (warp > 0) {
    return;
  }
  const Sum panel = sum_of_warp(lane < kThreads / kWarp ? of_warps[lane] : Sum{-infinity(), 0});
  if (lane == 0) {
    const Sum before = first == 0 ? Sum{-infinity(), 0} : Sum{most[r], total[r]};
    const float now = fmaxf(before.most, panel.most);
    total[r] = before.total * scale(before.most, now) + panel.total * scale(panel.most, now);
    most[r] = now;
    const int64_t column = targets[r] - first;
    if (column >= 0 && column < columns) {
      target[r] = row[column];
    }
  }
}
LACO_EXPORT(laco_log_probability_f32_v1)
