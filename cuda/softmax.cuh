// Sums of exponentials about a maximum that grows.
#pragma once

#include "common.cuh"

namespace laco {

// What is subtracted before exp: where all is -infinity, exp is to give 0 and not NaN.
__device__ __forceinline__ float shift_of(float most) { return most == -infinity() ? 0.0f : most; }

// What a sum about `from` is multiplied by to become one about `to`, which is larger.
__device__ __forceinline__ double scale(float from, float to) {
  return static_cast<double>(expf(from - shift_of(to)));
}

}  // namespace laco
