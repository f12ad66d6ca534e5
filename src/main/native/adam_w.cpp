#include "adam_w.hpp"

using namespace LACO_NAMESPACE;

// One step of AdamW: g = gradient_scale * gradient, mean = beta1 mean + (1 - beta1) g, square = beta2 square +
// (1 - beta2) g^2, master = kept master - step mean / (sqrt(square) / correction + epsilon), weight = master, rounded;
// then gradient = 0. All [n]. Where master is null the weight takes its place, and is rounded at random by the key.
LACO_KERNEL(adam_w)
(float* gradient, float* mean, float* square, float* master, void* weight, int32_t dtype, int64_t n,
 double gradient_scale, double beta1, double beta2, double kept, double step, double correction, double epsilon,
 uint64_t key) {
  return with_dtype(dtype, weight, [&](auto* type) {
    const Trained trained{master, writable(type), key};
    const AdamStep adam(gradient_scale, beta1, beta2, kept, step, correction, epsilon);
    auto move = [&](int64_t i, auto... count) {
      Vec m = load(mean + i, count...), s = load(square + i, count...);
      const Vec w = adam.take(load(gradient + i, count...), m, s, trained.value(i, count...));
      store(gradient + i, Vec{}, count...);
      store(mean + i, m, count...);
      store(square + i, s, count...);
      trained.set(i, w, count...);
    };
    const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
    for (int64_t v = 0; v < whole; v++) {
      move(v * W);
    }
    if (whole * W < n) {
      move(whole * W, n - whole * W);
    }
  });
}
