#include "vec.hpp"

using namespace LACO_NAMESPACE;

// x[rows[i]] += factors[i] * y[i] for i < count, for rows of `width`; no row is named twice. x [R, width],
// y [count, width].
LACO_KERNEL(add_rows)
(float* x, const float* y, const int32_t* rows, const float* factors, int64_t count, int64_t width) {
#pragma omp parallel for schedule(static) if (count * width > kParallelLight)
  for (int64_t r = 0; r < count; r++) {
    float* to = x + rows[r] * width;
    const float* from = y + r * width;
    const Vec factor = splat(factors[r]);
    int64_t i = 0;
    for (; i + W <= width; i += W) {
      store(to + i, fma(factor, load(from + i), load(to + i)));
    }
    if (i < width) {
      const int64_t rest = width - i;
      store(to + i, fma(factor, load(from + i, rest), load(to + i, rest)), rest);
    }
  }
  return LACO_OK;
}
