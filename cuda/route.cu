// The experts of each token, and their shares. The score of an expert is the softmax over all logits of the token, or the
// sigmoid of its own logit. The order is that of the logits or, with a correction, of score + correction: the larger
// first, NaN as if it were -infinity, the lower index among equals.
//
// Experts may be chosen of some groups only: those with the largest sums of their one or two largest scores, corrections
// included, in the same order.
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

  // The sum of the `best` largest keys of the experts of a group, or of their scores where there are two.
  __device__ __forceinline__ float best_of(int32_t group, int32_t size, int32_t best) const {
    float largest = -infinity(), second = -infinity();
    for (int32_t e = group * size; e < (group + 1) * size; e++) {
      const float exact = best == 1 ? key(e) : score(e) + (correction == nullptr ? 0 : correction[e]);
      const float own = exact == exact ? exact : -infinity();
      second = own > largest ? largest : own > second ? own : second;
      largest = own > largest ? own : largest;
    }
    return best == 1 ? largest : largest + second;
  }

  // A bit for each of the groups of which experts are chosen. A lane has two groups. All lanes get it.
  __device__ __forceinline__ uint64_t staying(int32_t groups, int32_t chosen, int32_t best) const {
    const int32_t first = static_cast<int32_t>(threadIdx.x), second = first + kWarp;
    Place own[2] = {{-infinity(), groups}, {-infinity(), groups}};
    if (first < groups) {
      own[0] = {best_of(first, experts / groups, best), first};
    }
    if (second < groups) {
      own[1] = {best_of(second, experts / groups, best), second};
    }
    uint64_t mask = 0;
    for (int32_t i = 0; i < chosen; i++) {
      const Place next = first_of_warp(own[0].before(own[1]) ? own[0] : own[1]);
      mask |= uint64_t{1} << next.index;
#pragma unroll
      for (int k = 0; k < 2; k++) {
        if (own[k].index == next.index) {
          own[k] = {-infinity(), groups};
        }
      }
    }
    return mask;
  }

  // The first expert that comes after `last`, of the groups of the mask, which have `size` experts; there must be one. All
  // lanes get it.
  __device__ __forceinline__ Place next(const Place& last, uint64_t mask, int32_t size) const {
    Place best = {-infinity(), experts};
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += kWarp) {
      if ((mask >> e / size & 1) == 0) {
        continue;
      }
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
// scores times `factor`, divided by the sum of the chosen experts' scores and `added` if `normalised`. Experts are of `groups_chosen` of
// up to 64 groups of as many neighbours each, which `groups_best` (1 or 2) of their scores choose. grid = tokens, block 32.
extern "C" __global__ void __launch_bounds__(kWarp)
    laco_route_f32_v1(const float* logits, const float* correction, int32_t* indices, float* shares, int32_t experts,
                      int32_t chosen, int32_t sigmoid, int32_t normalised, float factor, float added, int32_t groups,
                      int32_t groups_chosen, int32_t groups_best) {
  Row row = {logits + static_cast<int64_t>(blockIdx.x) * experts, correction, experts, sigmoid != 0, 0, 1};
  if (sigmoid == 0) {
    row.shift = shift_of(row.largest());
    if (normalised == 0 || correction != nullptr || added != 0) {
      row.all = row.sum_of_weights();
    }
  }
  int32_t* const index = indices + static_cast<int64_t>(blockIdx.x) * chosen;
  float* const share = shares + static_cast<int64_t>(blockIdx.x) * chosen;
  Place last = {infinity(), -1};
  float sum = 0;
  const uint64_t mask = groups == 1 ? 1 : row.staying(groups, groups_chosen, groups_best);
  for (int32_t i = 0; i < chosen; i++) {
    last = row.next(last, mask, experts / groups);
    const float score = row.score(last.index);
    sum += score;
    if (threadIdx.x == 0) {
      index[i] = last.index;
      share[i] = score;
    }
  }
  // The largest weight of a softmax is 1, unless all logits are -infinity.
  const bool least = sum < kLeastSum && (sigmoid != 0 || correction != nullptr);
  const float total = normalised == 0 ? 1.0f : (least ? kLeastSum : sum) + added;
  if (threadIdx.x == 0) {
    for (int32_t i = 0; i < chosen; i++) {
      share[i] = share[i] * factor / total;
    }
  }
}
LACO_EXPORT(laco_route_f32_v1)
