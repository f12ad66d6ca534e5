// Sums of exp(x - maximum) for a maximum that grows.
#pragma once

#include "common.cuh"

namespace laco {

// The number that is subtracted before exp; 0 where the maximum is -infinity, so that exp gives 0 and not NaN.
__device__ __forceinline__ float shift_of(float most) { return most == -infinity() ? 0.0f : most; }

// The factor by which a sum relative to `from` is multiplied to become one relative to `to`, which is larger.
__device__ __forceinline__ double scale(float from, float to) {
  return static_cast<double>(expf(from - shift_of(to)));
}

}  // namespace laco
