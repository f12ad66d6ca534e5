#include "softmax.hpp"

using namespace LACO_NAMESPACE;

namespace {

constexpr int64_t kPart = 1024;  // columns whose weights are added up, of which the chosen one is looked for among one part

// The index of the first of the largest numbers; 0 of NaN alone.
int32_t first_largest(const float* x, int64_t n) {
  const float most = row_maximum(x, n);
  for (int64_t i = 0; i < n; i++) {
    if (x[i] == most) {
      return static_cast<int32_t>(i);
    }
  }
  return 0;
}

// Writes exp(factor (x - most)) of up to kPart numbers, and returns their sum.
double weights_of(const float* x, int64_t n, float most, float factor, float* out) {
  return sum_of_weights(n, [&](int64_t i, int64_t count) {
    const Vec weight = exp(((count == W ? load(x + i) : load(x + i, count)) - most) * factor);
    if (count == W) {
      store(out + i, weight);
    } else {
      store(out + i, weight, count);
    }
    return weight;
  });
}

int32_t chosen(const float* x, int64_t n, float factor, double share, double* parts) {
  const int32_t best = first_largest(x, n);
  if (factor == 0) {
    return best;
  }
  float weights[kPart];
  double total = 0;
  for (int64_t first = 0; first < n; first += kPart) {
    parts[first / kPart] = weights_of(x + first, min(kPart, n - first), x[best], factor, weights);
    total += parts[first / kPart];
  }
  double left = share * total;
  int64_t first = 0;
  while (first + kPart < n && !(left < parts[first / kPart])) {
    left -= parts[first / kPart];
    first += kPart;
  }
  const int64_t count = min(kPart, n - first);
  weights_of(x + first, count, x[best], factor, weights);
  // Sums were rounded: the last one that may be chosen, where none passes the share.
  int64_t last = best - first;
  for (int64_t i = 0; i < count; i++) {
    if (weights[i] > 0) {
      last = i;
      left -= static_cast<double>(weights[i]);
      if (left < 0) {
        break;
      }
    }
  }
  return static_cast<int32_t>(first + last);
}

}  // namespace

// Of each row of logits [rows, columns] the first column up to which the sum of exp(factor (logit - largest)) passes the
// row's share of the sum of all; for a factor of 0 the first of the largest. parts [rows, ceil(columns / 1024)] is
// scratch.
LACO_KERNEL(sample)
(const float* logits, int64_t rows, int64_t columns, float factor, const double* shares, double* parts, int32_t* tokens) {
  const int64_t count = (columns + kPart - 1) / kPart;
#pragma omp parallel for schedule(static) if (rows * columns > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    tokens[r] = chosen(logits + r * columns, columns, factor, shares[r], parts + r * count);
  }
  return LACO_OK;
}
