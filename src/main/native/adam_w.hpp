// A step of AdamW on a vector of elements, and where it has the weight.
#pragma once

#include "at_random.hpp"

namespace LACO_NAMESPACE {

// The numbers of a step, as TrainingOps.AdamW has them.
struct AdamStep {
  float scale, old_mean, new_mean, old_square, new_square, kept, rate, by_root, least;

  AdamStep(double gradient_scale, double beta1, double beta2, double keep, double step, double correction,
           double epsilon)
      : scale(static_cast<float>(gradient_scale)),
        old_mean(static_cast<float>(beta1)),
        new_mean(static_cast<float>(1 - beta1)),
        old_square(static_cast<float>(beta2)),
        new_square(static_cast<float>(1 - beta2)),
        kept(static_cast<float>(keep)),
        rate(static_cast<float>(step)),
        by_root(static_cast<float>(1 / correction)),
        least(static_cast<float>(epsilon)) {}

  // Moves running means by a gradient, and returns the weight that follows the weight w.
  Vec take(Vec gradient, Vec& mean, Vec& square, Vec w) const {
    const Vec g = gradient * scale;
    mean = fma(new_mean, g, mean * old_mean);
    square = fma(new_square * g, g, square * old_square);
    return w * kept - rate * mean / fma(by_root, sqrt(square), splat(least));
  }
};

// A weight with its master in f32; without one it is rounded at random.
template <class T>
struct Trained {
  float* master;  // null for none
  T* weight;
  uint64_t key;

  template <class... Count>
  Vec value(int64_t i, Count... count) const {
    return master != nullptr ? load(master + i, count...) : load(weight + i, count...);
  }

  template <class... Count>
  void set(int64_t i, Vec w, Count... count) const {
    if (master != nullptr) {
      store(master + i, w, count...);
      store(weight + i, w, count...);
    } else {
      store(weight + i, round_at_random(w, random_bits(key, i), weight), count...);
    }
  }
};

}  // namespace LACO_NAMESPACE
