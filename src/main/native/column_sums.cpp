#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Number of vectors of columns whose sums a thread holds at once.
constexpr int64_t kColumns = 4;
// Number of rows that are added up in f32; sums of more rows are in f64.
constexpr int64_t kRows = 16;

// Adds the first n of the W columns that begin at x, all W without n; next(sum, value) adds a value to a sum. Sums over
// rows are in f64.
template <class Next, class... N>
inline void add_vector(const float* x, int64_t rows, int64_t width, Next next, float* out, N... n) {
  Wide sums[2] = {};
  for (int64_t start = 0; start < rows; start += kRows) {
    Vec run = {};
    for (int64_t r = start; r < min(rows, start + kRows); r++) {
      run = next(run, load(x + r * width, n...));
    }
    sums[0] += low(run);
    sums[1] += high(run);
  }
  float totals[W];
  for (int64_t i = 0; i < W; i++) {
    totals[i] = static_cast<float>(sums[i / (W / 2)][i % (W / 2)]);
  }
  store(out, load(out, n...) + load(totals), n...);
}

template <class Next>
inline int32_t add_columns(const float* x, int64_t rows, int64_t width, Next next, float* out) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t start = 0; start < width; start += kColumns * W) {
    int64_t i = start;
    for (; i + W <= min(width, start + kColumns * W); i += W) {
      add_vector(x + i, rows, width, next, out + i);
    }
    if (i < width && i < start + kColumns * W) {
      add_vector(x + i, rows, width, next, out + i, width - i);
    }
  }
  return LACO_OK;
}

}  // namespace

// out += the sums of the columns of x [rows, width]; out [width]. Rows are added in order.
LACO_KERNEL(add_columns)
(const float* x, int64_t rows, int64_t width, float* out) {
  return add_columns(x, rows, width, [](Vec sum, Vec v) { return sum + v; }, out);
}

// As add_columns, for the squares of x.
LACO_KERNEL(add_squares)
(const float* x, int64_t rows, int64_t width, float* out) {
  return add_columns(x, rows, width, [](Vec sum, Vec v) { return fma(v, v, sum); }, out);
}
