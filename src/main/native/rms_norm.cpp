#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  Vec a = {}, b = {}, c = {}, d = {};
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    Vec va = load(x + i), vb = load(x + i + W), vc = load(x + i + 2 * W), vd = load(x + i + 3 * W);
    a = fma(va, va, a);
    b = fma(vb, vb, b);
    c = fma(vc, vc, c);
    d = fma(vd, vd, d);
  }
  for (; i < n; i += W) {
    Vec v = i + W <= n ? load(x + i) : load(x + i, n - i);
    a = fma(v, v, a);
  }
  return sum(a) + sum(b) + sum(c) + sum(d);
}

}  // namespace

// out = 1 / sqrt(max(mean(x^2), floor)) for each row. x [rows, width], out [rows].
LACO_KERNEL(inverse_rms)
(const void* x, int32_t dtype, double floor, int64_t rows, int64_t width, float* out) {
  return with_dtype(dtype, x, [&](auto* from) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t r = 0; r < rows; r++) {
      const double mean = sum_of_squares(from + r * width, width) / static_cast<double>(width);
      // NaN stays.
      out[r] = static_cast<float>(1 / __builtin_sqrt(mean < floor ? floor : mean));
    }
  });
}

// out = (offset + weight) * x / sqrt(mean(x^2) + eps) for each row. x, out [rows, width], weight [width]; out of
// out_dtype.
LACO_KERNEL(rms_norm)
(const float* x, const void* weight, int32_t dtype, double eps, float offset, int64_t rows, int64_t width, void* out,
 int32_t out_dtype) {
  return with_dtypes(dtype, weight, out_dtype, out, [&](auto* scale, auto* all) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t r = 0; r < rows; r++) {
      const float* from = x + r * width;
      auto* to = all + r * width;
      double mean = sum_of_squares(from, width) / static_cast<double>(width);
      const float factor = static_cast<float>(1 / __builtin_sqrt(mean + eps));
      int64_t i = 0;
      for (; i + W <= width; i += W) {
        store(to + i, (load(scale + i) + offset) * (load(from + i) * factor));
      }
      if (i < width) {
        const int64_t n = width - i;
        store(to + i, (load(scale + i, n) + offset) * (load(from + i, n) * factor), n);
      }
    }
  });
}
