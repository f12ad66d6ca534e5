#include "elementwise.hpp"
#include "math.hpp"

using namespace LACO_NAMESPACE;

// x = scale * factors[column] * x, then soft_cap * tanh(x / soft_cap) unless soft_cap is 0; in place. x [rows, width],
// factors [width] or null for ones.
LACO_KERNEL(logits)
(float* x, const float* factors, int64_t rows, int64_t width, float scale, float soft_cap) {
  if (factors == nullptr) {
    map(x, x, rows * width, x, [&](Vec v, Vec) { return capped(v * scale, soft_cap); });
    return LACO_OK;
  }
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t r = 0; r < rows; r++) {
    float* row = x + r * width;
    int64_t i = 0;
    for (; i + W <= width; i += W) {
      store(row + i, capped(load(row + i) * (load(factors + i) * scale), soft_cap));
    }
    if (i < width) {
      const int64_t n = width - i;
      store(row + i, capped(load(row + i, n) * (load(factors + i, n) * scale), soft_cap), n);
    }
  }
  return LACO_OK;
}
