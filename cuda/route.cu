// The experts of each token, in the order of their logits: the larger first, NaN as if it were -infinity, the lower
// index among equals. With them their shares: softmax over all logits of the token, or over those of its experts.
//
//   laco_route_f32_v1    a warp takes a token and looks through its logits once for each expert that it chooses;
//                        they are a few hundred and stay in the L1 cache
#include "softmax.cuh"

using namespace laco;

namespace {

struct Place {
  float logit;
  int32_t index;

  __device__ __forceinline__ bool before(const Place& other) const {
    return logit > other.logit || (logit == other.logit && index < other.index);
  }
};

// The first of the row's experts that comes after `last`; there must be one. All lanes get it.
__device__ __forceinline__ Place next(const float* row, int32_t experts, const Place& last) {
  Place best = {-infinity(), experts};
  for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
    const float logit = row[e];
    const Place own = {logit == logit ? logit : -infinity(), e};
    if (last.before(own) && own.before(best)) {
      best = own;
    }
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Place other = {__shfl_xor_sync(~0u, best.logit, distance), __shfl_xor_sync(~0u, best.index, distance)};
    if (other.before(best)) {
      best = other;
    }
  }
  return best;
}

}  // namespace

// logits [tokens, experts]; indices, shares [tokens, chosen], chosen <= experts. grid = tokens, block 32.
extern "C" __global__ void __launch_bounds__(kWarp)
    laco_route_f32_v1(const float* logits, int32_t* indices, float* shares, int32_t experts, int32_t chosen,
                      int32_t normalised) {
  const float* const row = logits + static_cast<int64_t>(blockIdx.x) * experts;
  int32_t* const index = indices + static_cast<int64_t>(blockIdx.x) * chosen;
  float* const share = shares + static_cast<int64_t>(blockIdx.x) * chosen;
  Place last = {infinity(), -1};
  float shift = 0, total = 0;
  for (int32_t i = 0; i < chosen; i++) {
    last = next(row, experts, last);
    if (i == 0) {
      shift = shift_of(last.logit);
    }
    const float weight = expf(row[last.index] - shift);
    total += normalised != 0 ? weight : 0;
    if (threadIdx.x == 0) {
      index[i] = last.index;
      share[i] = weight;
    }
  }
  if (normalised == 0) {
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
      total += expf(row[e] - shift);
    }
    total = warp_sum(total);
  }
  if (threadIdx.x == 0) {
    for (int32_t i = 0; i < chosen; i++) {
      share[i] /= total;
    }
  }
}
LACO_EXPORT(laco_route_f32_v1)
