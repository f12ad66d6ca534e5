// Next tokens: from each row of logits one, by its probability.
//
//   laco_sample_f32_v1    reads logits twice, the second time from the L2, with some 15 operations each. A warp adds up
//                         parts of 1024 weights; one warp finds the part, and the token in it, by sums of 32 at a time.
#include "softmax.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPart = 1024;  // columns whose weights are added up

struct Largest {
  float most;
  int32_t column;  // the first one
};

__device__ __forceinline__ Largest larger(Largest a, Largest b) {
  return b.most > a.most || (b.most == a.most && b.column < a.column) ? b : a;
}

__device__ __forceinline__ Largest largest_of_warp(Largest own) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Largest other = {__shfl_xor_sync(~0u, own.most, distance), __shfl_xor_sync(~0u, own.column, distance)};
    own = larger(own, other);
  }
  return own;
}

// The largest of a row, for all threads. NaN counts as less than all; of NaN alone the column is 0.
__device__ __forceinline__ Largest largest_of_row(const float* row, int64_t columns) {
  __shared__ Largest of_warps[kWarps];
  Largest own = {-infinity(), 0x7fffffff};
  for (int64_t c = threadIdx.x; c < columns; c += kThreads) {
    if (row[c] == row[c]) {
      own = larger(own, {row[c], static_cast<int32_t>(c)});
    }
  }
  own = largest_of_warp(own);
  if (threadIdx.x % kWarp == 0) {
    of_warps[threadIdx.x / kWarp] = own;
  }
  __syncthreads();
  own = largest_of_warp(of_warps[threadIdx.x % kWarp]);
  return own.column == 0x7fffffff ? Largest{-infinity(), 0} : own;
}

// What the weights of columns add up to from the first of a warp's lanes on, for each lane.
__device__ __forceinline__ double sum_up_to_lane(double x) {
  const unsigned lane = threadIdx.x % kWarp;
#pragma unroll
  for (unsigned distance = 1; distance < kWarp; distance *= 2) {
    const double before = __shfl_up_sync(~0u, x, distance);
    x += lane >= distance ? before : 0.0;
  }
  return x;
}

}  // namespace

// logits [rows, columns]; shares [rows] of [0, 1). tokens [rows]: the first column up to which the sum of
// exp(factor (logit - largest)) passes the share of the sum of all; for a factor of 0 the first of the largest.
// parts [rows, ceil(columns / 1024)] is scratch. grid = rows.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_sample_f32_v1(const float* logits, const double* shares, double* parts, int32_t* tokens, int64_t columns,
                       float factor) {
  const float* row = logits + blockIdx.x * columns;
  const Largest best = largest_of_row(row, columns);
  if (factor == 0) {
    if (threadIdx.x == 0) {
      tokens[blockIdx.x] = best.column;
    }
    return;
  }
  const int64_t count = (columns + kPart - 1) / kPart;
  double* const own_parts = parts + blockIdx.x * count;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float shift = shift_of(best.most);
  for (int64_t part = threadIdx.x / kWarp; part < count; part += kWarps) {
    const int64_t end = min((part + 1) * kPart, columns);
    float run = 0;
    for (int64_t c = part * kPart + lane; c < end; c += kWarp) {
      run += expf((row[c] - shift) * factor);
    }
    const double sum = warp_sum(static_cast<double>(run));
    if (lane == 0) {
      own_parts[part] = sum;
    }
  }
  __syncthreads();
  if (threadIdx.x >= kWarp) {
    return;
  }
  // All lanes of the first warp read the same parts.
  double total = 0;
  for (int64_t part = 0; part < count; part++) {
    total += own_parts[part];
  }
  double left = shares[blockIdx.x] * total;
  int64_t part = 0;
  while (part < count - 1 && !(left < own_parts[part])) {
    left -= own_parts[part++];
  }
  // Sums were rounded: the last one that may be chosen, where none passes the share.
  int64_t found = best.column;
  const int64_t end = min((part + 1) * kPart, columns);
  for (int64_t first = part * kPart; first < end; first += kWarp) {
    const int64_t c = first + lane;
    const double weight = c < end ? static_cast<double>(expf((row[c] - shift) * factor)) : 0.0;
    const double up_to = sum_up_to_lane(weight);
    const unsigned positive = __ballot_sync(~0u, weight > 0);
    const unsigned passed = __ballot_sync(~0u, left < up_to) & positive;
    if (passed != 0) {
      found = first + __ffs(static_cast<int>(passed)) - 1;
      break;
    }
    if (positive != 0) {
      found = first + 31 - __clz(static_cast<int>(positive));
    }
    left -= __shfl_sync(~0u, up_to, kWarp - 1);
  }
  if (lane == 0) {
    tokens[blockIdx.x] = static_cast<int32_t>(found);
  }
}
LACO_EXPORT(laco_sample_f32_v1)
