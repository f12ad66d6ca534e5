#include "math.hpp"

using namespace LACO_NAMESPACE;

namespace {

// As in kl_divergence.cpp.
struct State {
  double reference_most, reference_total, difference, most, total;
};

// What the softmax of a row subtracts from logits before exp, and what it multiplies exponentials by.
struct Softmax {
  float shift, share;

  Softmax(double most, double total, double share_of_gradient)
      : shift(most == -__builtin_inf() ? 0 : static_cast<float>(most)),
        share(static_cast<float>(share_of_gradient / total)) {}

  Vec operator()(Vec logits) const { return exp(logits - shift) * share; }
};

}  // namespace

// Turns the logits of each row into the gradient of the row's loss by the products of hidden state and head, times
// scale: ((1 - label_share) (softmax(logits) - softmax(reference)) + label_share (softmax(logits) - 1 at the target)) *
// factors[column] * (1 - (logits / soft_cap)^2). The second part is missing where the target is negative, factors may be
// null for ones, soft_cap 0. logits, reference [rows, columns]; state from kl_divergence [rows, 5], targets [rows].
LACO_KERNEL(distillation_gradient)
(float* logits, const float* reference, int64_t rows, int64_t columns, const double* state, const int32_t* targets,
 double label_share, const float* factors, double scale, float soft_cap) {
#pragma omp parallel for schedule(static) if (rows * columns > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    const State own = reinterpret_cast<const State*>(state)[r];
    const double labels = targets[r] < 0 ? 0 : label_share;
    const Softmax softmax(own.most, own.total, scale * (1 - label_share + labels));
    const Softmax expected(own.reference_most, own.reference_total, scale * (1 - label_share));
    const float* expected_row = reference + r * columns;
    float* row = logits + r * columns;
    auto slope = [&](Vec logit, Vec factor) {
      const Vec share = soft_cap == 0 ? Vec{} : logit / soft_cap;
      return factor * (1.0f - share * share);
    };
    float at_target = 0;
    if (labels != 0) {
      const float factor = factors == nullptr ? 1 : factors[targets[r]];
      at_target = static_cast<float>(labels * scale) * slope(splat(row[targets[r]]), splat(factor))[0];
    }
    each_vector(columns, [&](int64_t i, auto... count) {
      const Vec logit = load(row + i, count...);
      const Vec factor = factors == nullptr ? splat(1) : load(factors + i, count...);
      const Vec difference = softmax(logit) - expected(load(expected_row + i, count...));
      store(row + i, difference * slope(logit, factor), count...);
    });
    if (labels != 0) {
      row[targets[r]] -= at_target;
    }
  }
  return LACO_OK;
}
