#include "softmax.hpp"

using namespace LACO_NAMESPACE;

namespace {

// The state of one row, in the layout that DivergenceState.java reads.
struct State {
  double reference_most, reference_total, difference, most, total;
};

// Raises *most to the panel's largest logit, if that is larger. Returns the factor by which sums of
// exp(logit - *most) must be multiplied then.
double raise(double* most, float panel) {
  const double before = *most;
  *most = max(before, static_cast<double>(panel));
  return *most > before ? __builtin_exp(before - *most) : 1;
}

// The number that is subtracted from logits before exp; 0 where all logits are -infinity, so that exp gives 0
// and not NaN.
float shift_of(double most) { return most == -__builtin_inf() ? 0 : static_cast<float>(most); }

// Loads the first n < W elements; the others are -infinity, whose exponential is 0.
Vec load_rest(const float* x, int64_t n) {
  Vec v = load(x, n);
  for (int64_t i = n; i < W; i++) {
    v[i] = -__builtin_inff();
  }
  return v;
}

// Adds up exp(r - largest), that times (r - h), and exp(h - largest).
void add_panel(const float* logits, const float* reference, int64_t n, State* state) {
  const float shift = shift_of(state->most), reference_shift = shift_of(state->reference_most);
  for (int64_t start = 0; start < n; start += kBlock * W) {
    const int64_t end = min(n, start + kBlock * W);
    Vec reference_total = {}, difference = {}, total = {};
    for (int64_t i = start; i < end; i += W) {
      const bool whole = i + W <= end;
      const Vec h = whole ? load(logits + i) : load_rest(logits + i, end - i);
      const Vec r = whole ? load(reference + i) : load_rest(reference + i, end - i);
      const Vec p = exp(r - reference_shift);
      reference_total += p;
      // A term whose exponential is 0 adds 0, even where a logit is infinite.
      difference += select(p == 0.0f, Vec{}, p * (r - h));
      total += exp(h - shift);
    }
    state->reference_total += sum(reference_total);
    state->difference += sum(difference);
    state->total += sum(total);
  }
}

}  // namespace

// Adds vocabulary entries first .. first + columns to the state: logits and the reference's logits
// [rows, columns]. Where first is 0, state [rows, 5] is initialised.
LACO_KERNEL(kl_divergence)
(const float* logits, const float* reference, int64_t rows, int64_t columns, int64_t first,
 double* state) {
#pragma omp parallel for schedule(static) if (rows * columns > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    State* own = reinterpret_cast<State*>(state) + r;
    if (first == 0) {
      *own = {-__builtin_inf(), 0, 0, -__builtin_inf(), 0};
    }
    const float* row = logits + r * columns;
    const float* reference_row = reference + r * columns;
    const double factor = raise(&own->reference_most, row_maximum(reference_row, columns));
    own->reference_total *= factor;
    own->difference *= factor;
    own->total *= raise(&own->most, row_maximum(row, columns));
    add_panel(row, reference_row, columns, own);
  }
  return LACO_OK;
}
