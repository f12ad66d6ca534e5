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

}  // namespace LACO_NAMESPACE
