// The numbers of a step of AdamW, and rounding at random, in f64: for the tests of adam_w.cu and adam_w_8bit.cu.
#pragma once

#include <deque>

#include "check.hpp"

namespace check {

constexpr float kScale = 0.5f, kBeta1 = 0.9f, kBeta2 = 0.999f, kSize = 0.02f, kCorrection = 3, kDecay = 1e-3f;
constexpr int64_t kKey = 0x123456789abcdef;

struct AdamStep {
  double mean, square, moved, weight;

  AdamStep(double gradient, double old_mean, double old_square, double old_weight, double epsilon) {
    const double g = wide(kScale) * gradient;
    mean = wide(kBeta1) * old_mean + wide(1 - kBeta1) * g;
    square = wide(kBeta2) * old_square + wide(1 - kBeta2) * g * g;
    moved = wide(kSize) * mean / (std::sqrt(square) * wide(kCorrection) + epsilon);
    weight = old_weight * (1 - wide(kDecay)) - moved;
  }
};

// The layouts of AdamStep and AdamJob in adam_w.cuh.
struct AdamNumbers {
  float gradient_scale, beta1, rest1, beta2, rest2, step_size, correction, epsilon, decay;
};
struct AdamJob {
  int64_t elements;
  int64_t first_block;
  float* gradient;
  void* mean;
  float* square;
  float* master;
  void* weight;
  const float* damping;
  uint64_t key;
  AdamNumbers step;
  int32_t reserved;
};

inline AdamNumbers numbers(float epsilon) {
  return {kScale, kBeta1, 1 - kBeta1, kBeta2, 1 - kBeta2, kSize, kCorrection, epsilon, kDecay};
}

// Takes a step with tensors by one launch of a kernel, of which a block takes so many elements, and checks each.
template <class Moved>
void take_step(const std::string& kernel, std::deque<Moved>& tensors, int64_t elements) {
  std::vector<AdamJob> jobs;
  int64_t blocks = 0;
  for (Moved& tensor : tensors) {
    jobs.push_back(tensor.job());
    jobs.back().first_block = blocks;
    blocks += (jobs.back().elements + elements - 1) / elements;
  }
  Buffer<AdamJob> table(jobs);
  launch(kernel, static_cast<unsigned>(blocks), 256, 0, static_cast<const AdamJob*>(table.data()),
         static_cast<int32_t>(jobs.size()));
  for (Moved& tensor : tensors) {
    tensor.check_step();
  }
}

inline uint32_t scrambled(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// The share of the way from a value of 16 bits to the next, away from zero, from which on element i is rounded there.
inline double threshold(size_t i, int dropped_bits) {
  const uint32_t random = scrambled(scrambled(static_cast<uint32_t>(i) ^ static_cast<uint32_t>(kKey)) +
                                    static_cast<uint32_t>(kKey >> 32));
  return 1 - std::ldexp(static_cast<double>(random >> (32 - dropped_bits)), -dropped_bits);
}

// Checks a weight that was rounded at random: of W, next to the exact number, and on the side that random bits choose
// unless that is close.
template <class W>
void check_rounded(W weight, double exact, size_t i, const std::string& what) {
  if constexpr (sizeof(W) == 4) {
    CHECK_CLOSE(wide(weight), exact, 1e-6 * (1 + std::abs(exact)), what);
  } else {
    if (std::isnan(exact)) {
      CHECK_CLOSE(wide(weight), exact, 0, what);
      return;
    }
    constexpr bool half = std::is_same_v<W, __half>;
    int exponent;
    std::frexp(exact, &exponent);
    const double unit = std::ldexp(1.0, half ? std::max(exponent - 11, -24) : exponent - 8);
    const double share = std::abs(exact) / unit;
    const double limit = threshold(i, half ? share < 1024 ? 23 : 13 : 16);
    const bool up = share - std::floor(share) >= limit;
    const double expected = std::copysign((std::floor(share) + (up ? 1 : 0)) * unit, exact);
    const bool close = std::abs(share - std::floor(share) - limit) < 0.01 || std::abs(share - std::round(share)) < 0.01;
    CHECK_CLOSE(wide(weight), expected, close ? unit : 0, what);
  }
}

}  // namespace check
