#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Numbers of rows of the weight and of x whose dot products are held in registers at once.
constexpr int kWeights = 4;
#if LACO_TIER == 2
constexpr int kInputs = 4;
#else
constexpr int kInputs = 2;
#endif

template <int weights, int inputs, class T>
inline void tile(const float* x, const T* weight, int64_t in, int64_t out_stride, float* out) {
  Vec sums[weights][inputs] = {};
  auto step = [&](int64_t i, auto... n) {
    Vec row[inputs];
    for (int r = 0; r < inputs; r++) {
      row[r] = load(x + r * in + i, n...);
    }
    for (int w = 0; w < weights; w++) {
      Vec v = load(weight + w * in + i, n...);
      for (int r = 0; r < inputs; r++) {
        sums[w][r] = fma(v, row[r], sums[w][r]);
      }
    }
  };
  int64_t i = 0;
  for (; i + W <= in; i += W) {
    step(i);
  }
  if (i < in) {
    step(i, in - i);
  }
  for (int w = 0; w < weights; w++) {
    for (int r = 0; r < inputs; r++) {
      out[r * out_stride + w] = quick_sum(sums[w][r]);
    }
  }
}

template <int weights, class T>
inline void tiles(const float* x, int64_t rows, const T* weight, int64_t in, int64_t out_stride,
                  float* out) {
  int64_t r = 0;
  for (; r + kInputs <= rows; r += kInputs) {
    tile<weights, kInputs>(x + r * in, weight, in, out_stride, out + r * out_stride);
  }
  for (; r + 2 <= rows; r += 2) {
    tile<weights, 2>(x + r * in, weight, in, out_stride, out + r * out_stride);
  }
  for (; r < rows; r++) {
    tile<weights, 1>(x + r * in, weight, in, out_stride, out + r * out_stride);
  }
}

}  // namespace

// out = x weight^T for few rows, where reading the weights takes most of the time and is done once: x [rows, in],
// weight [width, in], out [rows, width].
LACO_KERNEL(linear_rows)
(const float* x, const void* weight, int32_t dtype, int64_t rows, int64_t in, int64_t width,
 float* out) {
  return with_dtype(dtype, weight, [&](auto* matrix) {
#pragma omp parallel for schedule(static) if (width * in > kParallel)
    for (int64_t o = 0; o < width; o += kWeights) {
      if (o + kWeights <= width) {
        tiles<kWeights>(x, rows, matrix + o * in, in, width, out + o);
      } else {
        for (int64_t last = o; last < width; last++) {
          tiles<1>(x, rows, matrix + last * in, in, width, out + last);
        }
      }
    }
  });
}
