#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

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

  Row(const float* logits_, const float* correction_, int64_t experts_, bool sigmoid_, bool normalised)
      : logits(logits_), correction(correction_), experts(experts_), sigmoid(sigmoid_), shift(0), all(1) {
    if (sigmoid) {
      return;
    }
    float most = -__builtin_inff();
    for (int64_t e = 0; e < experts; e++) {
      most = ordered(logits[e]) > most ? logits[e] : most;
    }
    shift = most == -__builtin_inff() ? 0 : static_cast<double>(most);
    if (!normalised || correction != nullptr) {
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

  // The first expert that comes after `last`; there must be one.
  Place next(const Place& last) const {
    Place best = {-__builtin_inff(), experts};
    for (int64_t e = 0; e < experts; e++) {
      const Place own = {key(e), e};
      if (last.before(own) && own.before(best)) {
        best = own;
      }
    }
    return best;
  }
};

}  // namespace

// For each row of logits [rows, experts] the first `chosen` of its experts and their shares. The score of an expert is
// the softmax over the row or, if `sigmoid`, the sigmoid of its logit; the order is that of the logits or, where
// `correction` [experts] is not null, of score + correction; the share is the score times `factor`, divided by the sum
// of the chosen experts' scores if `normalised`. indices, shares [rows, chosen], chosen <= experts.
LACO_KERNEL(route)
(const float* logits, const float* correction, int64_t rows, int64_t experts, int64_t chosen, int32_t sigmoid,
 int32_t normalised, double factor, int32_t* indices, float* shares) {
#pragma omp parallel for schedule(static) if (rows * experts * chosen > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    const Row row(logits + r * experts, correction, experts, sigmoid != 0, normalised != 0);
    int32_t* index = indices + r * chosen;
    float* share = shares + r * chosen;
    Place last = {__builtin_inff(), -1};
    double sum = 0;
    for (int64_t i = 0; i < chosen; i++) {
      last = row.next(last);
      index[i] = static_cast<int32_t>(last.index);
      const double score = row.score(last.index);
      share[i] = static_cast<float>(score);
      sum += score;
    }
    // The largest weight of a softmax is 1, unless all logits are -infinity.
    const bool least = sum < kLeastSum && (sigmoid != 0 || correction != nullptr);
    const double total = normalised == 0 ? 1 : least ? kLeastSum : sum;
    for (int64_t i = 0; i < chosen; i++) {
      share[i] = static_cast<float>(static_cast<double>(share[i]) * factor / total);
    }
  }
  return LACO_OK;
}
