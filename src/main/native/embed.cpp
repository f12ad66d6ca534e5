#include "vec.hpp"

using namespace LACO_NAMESPACE;

// out[t] = scale * table[tokens[t]]. table [V, width], out [rows, width].
LACO_KERNEL(embed)
(const void* table, int32_t dtype, const int32_t* tokens, int64_t rows, int64_t width, float scale,
 float* out) {
  return with_dtype(dtype, table, [&](auto* from) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t t = 0; t < rows; t++) {
      auto* row = from + tokens[t] * width;
      float* to = out + t * width;
      int64_t i = 0;
      for (; i + W <= width; i += W) {
        store(to + i, load(row + i) * scale);
      }
      if (i < width) {
        store(to + i, load(row + i, width - i) * scale, width - i);
      }
    }
  });
}
