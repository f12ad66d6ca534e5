#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

float mean_of(const float* x, int64_t n) {
  Vec a = {}, b = {};
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    a += load(x + i);
    b += load(x + i + W);
  }
  for (; i < n; i += W) {
    a += i + W <= n ? load(x + i) : load(x + i, n - i);
  }
  return static_cast<float>((sum(a) + sum(b)) / static_cast<double>(n));
}

struct Moments {
  double mean;
  double variance;
};

// Of x - shift, where shift is close to the mean of x, so that nothing cancels.
Moments moments_of(const float* x, float shift, int64_t n) {
  Vec total = {}, squares = {};
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    const Vec v = load(x + i) - shift;
    total += v;
    squares = fma(v, v, squares);
  }
  double rest = 0, rest_of_squares = 0;
  for (; i < n; i++) {
    const double v = static_cast<double>(x[i]) - static_cast<double>(shift);
    rest += v;
    rest_of_squares += v * v;
  }
  const double count = static_cast<double>(n);
  const double mean = (sum(total) + rest) / count;
  return {mean, (sum(squares) + rest_of_squares) / count - mean * mean};
}

template <class T, class To>
void normalise(const float* from, const T* scale, const T* bias, double eps, float offset, int64_t width,
               To* to) {
  const float shift = mean_of(from, width);
  const Moments moments = moments_of(from, shift, width);
  const float factor = static_cast<float>(1 / __builtin_sqrt(moments.variance + eps));
  const float mean = static_cast<float>(moments.mean);
  int64_t i = 0;
  for (; i + W <= width; i += W) {
    const Vec v = (load(scale + i) + offset) * ((load(from + i) - shift - mean) * factor);
    store(to + i, bias == nullptr ? v : v + load(bias + i));
  }
  if (i < width) {
    const int64_t n = width - i;
    const Vec v = (load(scale + i, n) + offset) * ((load(from + i, n) - shift - mean) * factor);
    store(to + i, bias == nullptr ? v : v + load(bias + i, n), n);
  }
}

}  // namespace

// out = (offset + weight) * (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) + bias for each row; row r has row r % sets
// of weight and bias. x, out [rows, width], weight, bias [sets, width]; bias may be null; out of out_dtype.
LACO_KERNEL(layer_norm)
(const float* x, const void* weight, const void* bias, int32_t dtype, double eps, float offset, int64_t rows,
 int64_t width, int64_t sets, void* out, int32_t out_dtype) {
  return with_dtypes(dtype, weight, out_dtype, out, [&](auto* scale, auto* all) {
    const auto* shift = static_cast<decltype(scale)>(bias);
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t r = 0; r < rows; r++) {
      const int64_t set = r % sets * width;
      normalise(x + r * width, scale + set, shift == nullptr ? shift : shift + set, eps, offset, width, all + r * width);
    }
  });
}
