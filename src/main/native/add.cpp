#include "elementwise.hpp"

using namespace LACO_NAMESPACE;

// x += y.
LACO_KERNEL(add)(float* x, const float* y, int64_t n) {
  map(x, y, n, x, [](Vec a, Vec b) { return a + b; });
  return LACO_OK;
}

// Adds bias [width] to every row of x [rows, width].
LACO_KERNEL(add_bias)
(float* x, const void* bias, int32_t dtype, int64_t rows, int64_t width) {
  return with_dtype(dtype, bias, [&](auto* b) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t r = 0; r < rows; r++) {
      float* row = x + r * width;
      int64_t i = 0;
      for (; i + W <= width; i += W) {
        store(row + i, load(row + i) + load(b + i));
      }
      if (i < width) {
        store(row + i, load(row + i, width - i) + load(b + i, width - i), width - i);
      }
    }
  });
}
