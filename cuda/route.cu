// The experts of each token, and their shares. The score of an expert is the softmax over all logits of the token, or the
// sigmoid of its own logit. The order is that of the logits or, with a correction, of score + correction: the larger
// first, NaN as if it were -infinity, the lower index among equals.
//
//   laco_route_f32_v1    a warp takes a token and looks through its logits once for each expert that it chooses;
//                        they are a few hundred and stay in the L1 cache
#include "softmax.cuh"

using namespace laco;

namespace {

// The least sum by which scores are divided.
constexpr float kLeastSum = 1e-20f;

struct Place {
  float key;
  int32_t index;

  __device__ __forceinline__ bool before(const Place& other) const {
    return key > other.key || (key == other.key && index < other.index);
  }
};

__device__ __forceinline__ Place first_of_warp(Place best) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Place other = {__shfl_xor_sync(~0u, best.key, distance), __shfl_xor_sync(~0u, best.index, distance)};
    if (other.before(best)) {
      best = other;
    }
  }
  return best;
}

// The logits of a token, and what becomes of them.
struct Row {
  const float* logits;
  const float* correction;
  int32_t experts;
  bool sigmoid;
  float shift;  // the largest logit
  float all;    // the sum of all weights, or 1 where scores, or their ratios, are the weights

  __device__ __forceinline__ float weight(int32_t e) const {
    return sigmoid ? 1 / (1 + expf(-logits[e])) : expf(logits[e] - shift);
  }

  __device__ __forceinline__ float score(int32_t e) const { return weight(e) / all; }

  __device__ __forceinline__ float key(int32_t e) const {
    const float key = correction == nullptr ? logits[e] : score(e) + correction[e];
    return key == key ? key : -infinity();
  }

  // The first expert that comes after `last`; there must be one. All lanes get it.
  __device__ __forceinline__ Place next(const Place& last) const {
    Place best = {-infinity(), experts};
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
      const Place own = {key(e), e};
      if (last.before(own) && own.before(best)) {
        best = own;
      }
    }
    return first_of_warp(best);
  }

  __device__ __forceinline__ float sum_of_weights() const {
    float sum = 0;
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
      sum += weight(e);
    }
    return warp_sum(sum);
  }

  __device__ __forceinline__ float largest() const {
    float most = -infinity();
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
      most = logits[e] > most ? logits[e] : most;
    }
    return warp_max(most);
  }
};

}  // namespace

// logits [tokens, experts]; correction [experts] or null; indices, shares [tokens, chosen], chosen <= experts. Shares are
// scores times `factor`, divided by the sum of the chosen experts' scores if `normalised`. grid = tokens, block 32.
extern "C" __global__ void __launch_bounds__(kWarp)
    laco_route_f32_v1(const float* logits, const float* correction, int32_t* indices, float* shares, int32_t experts,
                      int32_t chosen, int32_t sigmoid, int32_t normalised, float factor) {
  Row row = {logits + static_cast<int64_t>(blockIdx.x) * experts, correction, experts, sigmoid != 0, 0, 1};
  if (sigmoid == 0) {
    row.shift = shift_of(row.largest());
    if (normalised == 0 || correction != nullptr) {
      row.all = row.sum_of_weights();
    }
  }
  int32_t* const index = indices + static_cast<int64_t>(blockIdx.x) * chosen;
  float* const share = shares + static_cast<int64_t>(blockIdx.x) * chosen;
  Place last = {infinity(), -1};
  float sum = 0;
  for (int32_t i = 0; i < chosen; i++) {
    last = row.next(last);
    const float score = row.score(last.index);
    sum += score;
    if (threadIdx.x == 0) {
      index[i] = last.index;
      share[i] = score;
    }
  }
  // The largest weight of a softmax is 1, unless all logits are -infinity.
  const bool least = sum < kLeastSum && (sigmoid != 0 || correction != nullptr);
  const float total = normalised == 0 ? 1.0f : least ? kLeastSum : sum;
  if (threadIdx.x == 0) {
    for (int32_t i = 0; i < chosen; i++) {
      share[i] = share[i] * factor / total;
    }
  }
}
LACO_EXPORT(laco_route_f32_v1)
