#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// The order of experts: the larger logit first, NaN as if it were -infinity, the lower index among equals.
struct Place {
  float logit;
  int64_t index;

  bool before(const Place& other) const {
    return logit > other.logit || (logit == other.logit && index < other.index);
  }
};

inline float ordered(float logit) { return logit == logit ? logit : -__builtin_inff(); }

// The first of a row's experts that comes after `last`; there must be one.
Place next(const float* row, int64_t experts, const Place& last) {
  Place best = {-__builtin_inff(), experts};
  for (int64_t e = 0; e < experts; e++) {
    const Place own = {ordered(row[e]), e};
    if (last.before(own) && own.before(best)) {
      best = own;
    }
  }
  return best;
}

}  // namespace

// For each row of logits [rows, experts] the first `chosen` of its experts, in their order, and their shares:
// softmax over the row, or, if `normalised`, over the chosen ones. indices, shares [rows, chosen], chosen <= experts.
LACO_KERNEL(route)
(const float* logits, int64_t rows, int64_t experts, int64_t chosen, int32_t normalised, int32_t* indices,
 float* shares) {
#pragma omp parallel for schedule(static) if (rows * experts * chosen > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    const float* row = logits + r * experts;
    int32_t* index = indices + r * chosen;
    float* share = shares + r * chosen;
    Place last = {__builtin_inff(), -1};
    float shift = 0;
    double total = 0;
    for (int64_t i = 0; i < chosen; i++) {
      last = next(row, experts, last);
      if (i == 0 && last.logit != -__builtin_inff()) {
        shift = last.logit;
      }
      index[i] = static_cast<int32_t>(last.index);
      const double weight = __builtin_exp(static_cast<double>(row[last.index]) - static_cast<double>(shift));
      share[i] = static_cast<float>(weight);
      total += normalised != 0 ? weight : 0;
    }
    for (int64_t e = 0; e < experts && normalised == 0; e++) {
      total += __builtin_exp(static_cast<double>(row[e]) - static_cast<double>(shift));
    }
    for (int64_t i = 0; i < chosen; i++) {
      share[i] = static_cast<float>(static_cast<double>(share[i]) / total);
    }
  }
  return LACO_OK;
}
