#include "vec.hpp"

using namespace LACO_NAMESPACE;

// out = scale * (a - b) for each row; b may be null: zeros. a, b, out [rows, width], scale [rows]; out may be
// a or b.
LACO_KERNEL(scaled_difference)
(const float* a, const float* b, const float* scale, int64_t rows, int64_t width, float* out) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t r = 0; r < rows; r++) {
    const float* from = a + r * width;
    float* to = out + r * width;
    const Vec factor = splat(scale[r]);
    if (b == nullptr) {
      each_vector(width, [&](int64_t i, auto... n) { store(to + i, factor * load(from + i, n...), n...); });
    } else {
      const float* less = b + r * width;
      each_vector(width, [&](int64_t i, auto... n) {
        store(to + i, factor * (load(from + i, n...) - load(less + i, n...)), n...);
      });
    }
  }
  return LACO_OK;
}
