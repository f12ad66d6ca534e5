#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Number of elements whose products are added up in f32, by four vectors of sums; sums of more are in f64.
constexpr int64_t kBlock = 64 * W;

// Number of parts of a tensor whose sums of squares are added up in f64, in order.
constexpr int64_t kParts = 256;

double product(const float* a, const float* b, int64_t n) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = min(n, start + kBlock);
    Vec sums[4] = {};
    int64_t i = start;
    for (; i + 4 * W <= end; i += 4 * W) {
      for (int k = 0; k < 4; k++) {
        sums[k] = fma(load(a + i + k * W), load(b + i + k * W), sums[k]);
      }
    }
    for (; i < end; i += W) {
      const bool whole = i + W <= end;
      const Vec x = whole ? load(a + i) : load(a + i, end - i);
      const Vec y = whole ? load(b + i) : load(b + i, end - i);
      sums[0] = fma(x, y, sums[0]);
    }
    total += sum(sums[0]) + sum(sums[1]) + sum(sums[2]) + sum(sums[3]);
  }
  return total;
}

}  // namespace

// out[r] = a[r] . b[r] for each row of a, b [rows, width].
LACO_KERNEL(row_products)
(const float* a, const float* b, int64_t rows, int64_t width, float* out) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t r = 0; r < rows; r++) {
    out[r] = static_cast<float>(product(a + r * width, b + r * width, width));
  }
  return LACO_OK;
}

// *out = the sum of the squares of x [n].
LACO_KERNEL(sum_of_squares)(const float* x, int64_t n, double* out) {
  double parts[kParts];
  // A multiple of a block: only the last part ends within a vector.
  const int64_t size = (n / kParts / kBlock + 1) * kBlock;
  const int64_t count = (n + size - 1) / size;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t p = 0; p < count; p++) {
    parts[p] = product(x + p * size, x + p * size, min(size, n - p * size));
  }
  double total = 0;
  for (int64_t p = 0; p < count; p++) {
    total += parts[p];
  }
  *out = total;
  return LACO_OK;
}
