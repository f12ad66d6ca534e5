#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Number of vectors of columns whose sums a thread holds at once.
constexpr int64_t kColumns = 4;
// Number of rows whose squares are added up in f32; sums of more rows are in f64.
constexpr int64_t kRows = 16;

// Adds the squares of the first n of the W columns that begin at x, of all W without n. Sums over rows are in f64.
template <class... N>
inline void add_columns(const float* x, int64_t rows, int64_t width, float* out, N... n) {
  Wide sums[2] = {};
  for (int64_t start = 0; start < rows; start += kRows) {
    Vec run = {};
    for (int64_t r = start; r < min(rows, start + kRows); r++) {
      const Vec v = load(x + r * width, n...);
      run = fma(v, v, run);
    }
    sums[0] += low(run);
    sums[1] += high(run);
  }
  float squares[W];
  for (int64_t i = 0; i < W; i++) {
    squares[i] = static_cast<float>(sums[i / (W / 2)][i % (W / 2)]);
  }
  store(out, load(out, n...) + load(squares), n...);
}

}  // namespace

// out += the sums of squares of the columns of x [rows, width]; out [width]. Rows are added in order.
LACO_KERNEL(add_squares)
(const float* x, int64_t rows, int64_t width, float* out) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t start = 0; start < width; start += kColumns * W) {
    int64_t i = start;
    for (; i + W <= min(width, start + kColumns * W); i += W) {
      add_columns(x + i, rows, width, out + i);
    }
    if (i < width && i < start + kColumns * W) {
      add_columns(x + i, rows, width, out + i, width - i);
    }
  }
  return LACO_OK;
}
