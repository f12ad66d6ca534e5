#include "round.hpp"

using namespace LACO_NAMESPACE;

// Copies `count` columns of x [rows, x_width] to each of `copies` rows of out, of the type dtype, and writes zeros to the
// `rest` columns behind them. x and out begin at the first column that is copied; out has out_width columns.
LACO_KERNEL(copy_columns)
(const float* x, int64_t rows, int64_t copies, int64_t x_width, int64_t count, int64_t rest, void* out, int32_t dtype,
 int64_t out_width) {
  return with_dtype(dtype, out, [&](auto* type) {
    auto* first = writable(type);
    const auto fill = [](auto* to, int64_t n, auto value) {
      int64_t i = 0;
      for (; i + W <= n; i += W) {
        store(to + i, value(i, W));
      }
      if (i < n) {
        store(to + i, value(i, n - i), n - i);
      }
    };
#pragma omp parallel for schedule(static) if (rows * copies * (count + rest) > kParallelLight)
    for (int64_t r = 0; r < rows * copies; r++) {
      const float* from = x + r / copies * x_width;
      auto* to = first + r * out_width;
      fill(to, count, [&](int64_t i, int64_t n) { return n == W ? load(from + i) : load(from + i, n); });
      fill(to + count, rest, [](int64_t, int64_t) { return Vec{}; });
    }
  });
}
