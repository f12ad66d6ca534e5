#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// The most groups of experts, which a mask has room for.
constexpr int64_t kMostGroups = 64;

// The least sum by which scores are divided.
constexpr double kLeastSum = 1e-20;

// The order of experts: the larger key first, NaN as if it were -infinity, the lower index among equals.
struct Place {
  float key;
  int64_t index;

  bool before(const Place& other) const { return key > other.key || (key == other.key && index < other.index); }
};

inline float ordered(float key) { return key == key ? key : -__builtin_inff(); }

// The logits of a token, and what becomes of them.
struct Row {
  const float* logits;
  const float* correction;
  int64_t experts;
  bool sigmoid;
  // The largest logit, and the sum of all weights, or 1 where scores, or their ratios, are the weights.
  double shift;
  double all;

  Row(const float* logits_, const float* correction_, int64_t experts_, bool sigmoid_, bool ratios)
      : logits(logits_), correction(correction_), experts(experts_), sigmoid(sigmoid_), shift(0), all(1) {
    if (sigmoid) {
      return;
    }
    float most = -__builtin_inff();
    for (int64_t e = 0; e < experts; e++) {
      most = ordered(logits[e]) > most ? logits[e] : most;
    }
    shift = most == -__builtin_inff() ? 0 : static_cast<double>(most);
    if (!ratios) {
      all = 0;
      for (int64_t e = 0; e < experts; e++) {
        all += weight(e);
      }
    }
  }

  double weight(int64_t e) const {
    const double logit = static_cast<double>(logits[e]);
    return sigmoid ? 1 / (1 + __builtin_exp(-logit)) : __builtin_exp(logit - shift);
  }

  double score(int64_t e) const { return weight(e) / all; }

  float key(int64_t e) const {
    return ordered(correction == nullptr ? logits[e]
                                         : static_cast<float>(score(e) + static_cast<double>(correction[e])));
  }

  // The largest key of the experts [first, first + size) or, for the best two, the sum of their two largest scores.
  double best_of(int64_t first, int64_t size, int32_t best) const {
    double largest = -__builtin_inf(), second = -__builtin_inf();
    for (int64_t e = first; e < first + size; e++) {
      const double added = correction == nullptr ? 0 : static_cast<double>(correction[e]);
      const double exact = best == 1 ? static_cast<double>(key(e)) : score(e) + added;
      const double own = exact == exact ? exact : -__builtin_inf();
      second = own > largest ? largest : own > second ? own : second;
      largest = own > largest ? own : largest;
    }
    return best == 1 ? largest : largest + second;
  }

  // A bit for each of the groups of which experts are chosen: the largest first, the lower index among equals.
  uint64_t staying(int32_t groups, int32_t chosen, int32_t best) const {
    double sums[kMostGroups];
    for (int64_t g = 0; g < groups; g++) {
      sums[g] = best_of(g * (experts / groups), experts / groups, best);
    }
    uint64_t mask = 0;
    for (int32_t i = 0; i < chosen; i++) {
      int32_t first = -1;
      for (int32_t g = 0; g < groups; g++) {
        const bool open = (mask >> g & 1) == 0;
        first = open && (first < 0 || sums[g] > sums[first]) ? g : first;
      }
      mask |= uint64_t{1} << first;
    }
    return mask;
  }

  // The first expert that comes after `last`, of the groups of the mask, which have `size` experts; there must be one.
  Place next(const Place& last, uint64_t mask, int64_t size) const {
    Place best = {-__builtin_inff(), experts};
    for (; mask != 0; mask &= mask - 1) {
      const int64_t first = __builtin_ctzll(mask) * size;
      for (int64_t e = first; e < first + size; e++) {
        const Place own = {key(e), e};
        if (last.before(own) && own.before(best)) {
          best = own;
        }
      }
    }
    return best;
  }
};

}  // namespace

// For each row of logits [rows, experts] the first `chosen` of its experts and their shares. The score of an expert is
// the softmax over the row or, if `sigmoid`, the sigmoid of its logit; the order is that of the logits or, where
// `correction` [experts] is not null, of score + correction; the share is the score times `factor`, divided by the sum
// of the chosen experts' scores and `added` if `normalised`. The experts are of `groups_chosen` of `groups` groups of neighbours,
// those with the largest sums of their `groups_best` (1 or 2) largest scores, corrections included. indices, shares
// [rows, chosen], chosen <= experts of these groups.
LACO_KERNEL(route)
(const float* logits, const float* correction, int64_t rows, int64_t experts, int64_t chosen, int32_t sigmoid,
 int32_t normalised, double factor, double added, int32_t groups, int32_t groups_chosen, int32_t groups_best, int32_t* indices,
 float* shares) {
#pragma omp parallel for schedule(static) if (rows * experts * chosen > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    // Shares are ratios of weights where nothing is added to scores or to their sum.
    const bool ratios = normalised != 0 && correction == nullptr && added == 0;
    const Row row(logits + r * experts, correction, experts, sigmoid != 0, ratios);
    int32_t* index = indices + r * chosen;
    float* share = shares + r * chosen;
    Place last = {__builtin_inff(), -1};
    double sum = 0;
    const uint64_t mask = groups == 1 ? 1 : row.staying(groups, groups_chosen, groups_best);
    for (int64_t i = 0; i < chosen; i++) {
      last = row.next(last, mask, experts / groups);
      index[i] = static_cast<int32_t>(last.index);
      const double score = row.score(last.index);
      share[i] = static_cast<float>(score);
      sum += score;
    }
    // The largest weight of a softmax is 1, unless all logits are -infinity.
    const bool least = sum < kLeastSum && (sigmoid != 0 || correction != nullptr);
    const double total = normalised == 0 ? 1 : (least ? kLeastSum : sum) + added;
    for (int64_t i = 0; i < chosen; i++) {
      share[i] = static_cast<float>(static_cast<double>(share[i]) * factor / total);
    }
  }
  return LACO_OK;
}
