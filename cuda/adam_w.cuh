// A step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) on an element, where it has the
// weight, and the tensors of a launch.
#pragma once

#include "common.cuh"

namespace laco {

// The numbers of a step, as TrainingOps.AdamW has them. rest1, rest2: 1 - beta1, 1 - beta2, rounded once; correction: the
// inverse of TrainingOps.AdamW.squareCorrection; decay: rate times decay.
struct AdamStep {
  float gradient_scale, beta1, rest1, beta2, rest2, step_size, correction, epsilon, decay;

  // Moves running means by a gradient, and the weight against it.
  __device__ __forceinline__ void take(float gradient, float& mean, float& square, float& weight) const {
    const float g = gradient_scale * gradient;
    mean = fmaf(rest1, g, beta1 * mean);
    square = fmaf(rest2 * g, g, beta2 * square);
    const float moved = step_size * mean / (sqrtf(square) * correction + epsilon);
    weight -= fmaf(decay, weight, moved);
  }
};

// The finalizer of MurmurHash3.
__device__ __forceinline__ uint32_t scrambled(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// 32 random bits of an element: those of StochasticRounding.java.
__device__ __forceinline__ uint32_t random_bits(uint64_t key, int64_t i) {
  const uint64_t at = static_cast<uint64_t>(i);
  const uint32_t low = static_cast<uint32_t>(key) + static_cast<uint32_t>(at >> 32) * 0x9e3779b9u;
  return scrambled(scrambled(static_cast<uint32_t>(at) ^ low) + static_cast<uint32_t>(key >> 32));
}

// Rounds up or down at random, to a value of T, so that the mean of many roundings is the number itself. Infinities and
// NaN stay.
template <class T>
__device__ float round_at_random(float x, uint32_t random);
template <>
__device__ __forceinline__ float round_at_random<float>(float x, uint32_t) {
  return x;
}
template <>
__device__ __forceinline__ float round_at_random<__nv_bfloat16>(float x, uint32_t random) {
  const uint32_t bits = __float_as_uint(x);
  return fabsf(x) < infinity() ? __uint_as_float((bits + (random >> 16)) & 0xffff0000u) : x;
}
template <>
__device__ __forceinline__ float round_at_random<__half>(float x, uint32_t random) {
  if (fabsf(x) < 0x1p-14f) {
    // Multiples of 2^-24.
    const float units = fabsf(x) * 0x1p24f + static_cast<float>(random >> 9) * 0x1p-23f;
    return copysignf(floorf(units) * 0x1p-24f, x);
  }
  const uint32_t bits = __float_as_uint(x);
  return fabsf(x) < infinity() ? __uint_as_float((bits + (random >> 19)) & ~0x1fffu) : x;
}

// A weight with its master in f32; without one it is rounded at random.
template <class W>
struct Trained {
  float* master;  // null for none
  W* weight;
  uint64_t key;

  __device__ __forceinline__ bool aligned4() const { return laco::aligned4(master) && laco::aligned4(weight); }

  template <int N>
  __device__ __forceinline__ Floats<N> value(int64_t i) const {
    return master != nullptr ? load<N>(master + i) : load<N>(weight + i);
  }

  template <int N>
  __device__ __forceinline__ void set(int64_t i, Floats<N> w) const {
    if (master != nullptr) {
      store(master + i, w);
    } else {
#pragma unroll
      for (int k = 0; k < N; k++) {
        w[k] = round_at_random<W>(w[k], random_bits(key, i + k));
      }
    }
    store(weight + i, w);
  }
};

// A tensor that a step moves.
struct AdamJob {
  int64_t elements;
  int64_t first_block;
  float* gradient;
  void* mean;            // float [elements], or what adam_w_8bit.cu has in the place of both running means
  float* square;
  float* master;         // null for none: the weight is rounded at random by the key
  void* weight;
  const float* damping;  // taken in place of epsilon; null for that
  uint64_t key;
  AdamStep step;
  int32_t reserved;

  template <class W>
  __device__ __forceinline__ Trained<W> trained() const {
    return {master == nullptr ? nullptr : global(master), global(static_cast<W*>(weight)), key};
  }
};
static_assert(sizeof(AdamJob) == 112, "the host packs these");

}  // namespace laco
