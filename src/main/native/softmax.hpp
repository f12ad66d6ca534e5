// Functions for a softmax over the vocabulary that is read in panels.
#pragma once

#include "math.hpp"

namespace LACO_NAMESPACE {

// Number of vectors whose exponentials are added up in f32; sums of more are in f64.
inline constexpr int64_t kBlock = 32;

// NaN is ignored.
inline float row_maximum(const float* x, int64_t n) {
  Vec most = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    most = max(most, load(x + i));
  }
  float result = largest(most);
  for (; i < n; i++) {
    result = max(result, x[i]);
  }
  return result;
}

// The sum of n numbers: weight(i, count) gives those of i and the count - 1 behind it, in a vector.
template <class Weight>
inline double sum_of_weights(int64_t n, Weight weight) {
  double result = 0;
  int64_t i = 0;
  while (i + W <= n) {
    const int64_t end = min(n, i + kBlock * W);
    Vec total = {};
    for (; i + W <= end; i += W) {
      total += weight(i, W);
    }
    result += sum(total);
  }
  if (i < n) {
    const Vec last = weight(i, n - i);
    for (int64_t k = 0; k < n - i; k++) {
      result += last[k];
    }
  }
  return result;
}

}  // namespace LACO_NAMESPACE
