#include "round.hpp"

using namespace LACO_NAMESPACE;

// One step of AdamW: g = gradient_scale * gradient, mean = beta1 mean + (1 - beta1) g, square = beta2 square +
// (1 - beta2) g^2, master = kept master - step mean / (sqrt(square) / correction + epsilon), weight = master, rounded;
// then gradient = 0. All [n].
LACO_KERNEL(adam_w)
(float* gradient, float* mean, float* square, float* master, void* weight, int32_t dtype, int64_t n,
 double gradient_scale, double beta1, double beta2, double kept, double step, double correction, double epsilon) {
  return with_dtype(dtype, weight, [&](auto* type) {
    auto* rounded = writable(type);
    const float scale = static_cast<float>(gradient_scale);
    const float old_mean = static_cast<float>(beta1), new_mean = static_cast<float>(1 - beta1);
    const float old_square = static_cast<float>(beta2), new_square = static_cast<float>(1 - beta2);
    const float keep = static_cast<float>(kept), rate = static_cast<float>(step);
    const float by_root = static_cast<float>(1 / correction), least = static_cast<float>(epsilon);
    auto move = [&](int64_t i, auto... count) {
      const Vec g = load(gradient + i, count...) * scale;
      const Vec m = fma(new_mean, g, load(mean + i, count...) * old_mean);
      const Vec s = fma(new_square * g, g, load(square + i, count...) * old_square);
      const Vec moved = rate * m / fma(by_root, sqrt(s), splat(least));
      const Vec w = load(master + i, count...) * keep - moved;
      store(gradient + i, Vec{}, count...);
      store(mean + i, m, count...);
      store(square + i, s, count...);
      store(master + i, w, count...);
      store(rounded + i, w, count...);
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
