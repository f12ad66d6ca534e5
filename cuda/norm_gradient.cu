// Gradients of norms of rows, by the rows and by the weights. A block takes a part of the rows, one after the other, and
// every thread the same columns of each: it adds up their gradients by the weights in registers. Of every part a row of
// partial sums is left, which laco_column_sums adds up.
//
//   laco_rms_norm_gradient_<W>_v1      12 bytes and some 15 operations per element: bound by memory
//   laco_layer_norm_gradient_<W>_v1    likewise, with gradients by a bias, and a row of weights for every head
//
// A thread keeps up to kKept vectors of a row in registers, so that rows of up to 16 elements per thread are read once.
// out may be gradient.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kMostThreads = 512;  // any multiple of 32 up to it
constexpr int kKept = 4;

// The rows of a block. Of `sets` rows of weights it takes the set-th, and every sets-th row.
struct Rows {
  int64_t first, end;  // as rows of the set
  int64_t sets, set;
  int64_t columns;

  __device__ int64_t offset(int64_t row) const { return (row * sets + set) * columns; }
};

// N elements at a time of rows of fewer than 2^31; kCenter for layer norm. `offset` is added to weights.
// The partial sums are those of the block's part and set; by_bias is null for none.
template <int N, bool kCenter, class W>
__device__ __forceinline__ void norm_gradients(const Rows& rows, const float* x, const W* weight, const float* gradient,
                                               float* by_weight, float* by_bias, float* out, float eps,
                                               float offset) {
  __shared__ float scratch[2][kMostWarps][1];
  __shared__ float both[kMostWarps][2];
  const int32_t count = static_cast<int32_t>(rows.columns / N);
  const int32_t start = static_cast<int32_t>(threadIdx.x);
  const int32_t step = static_cast<int32_t>(blockDim.x);
  const float share = 1 / static_cast<float>(rows.columns);
  Floats<N> weight_sums[kKept] = {};
  Floats<N> bias_sums[kKept] = {};

  for (int64_t r = rows.first; r < rows.end; r++) {
    const float* const row = x + rows.offset(r);
    const float* const from = gradient + rows.offset(r);
    float* const to = out + rows.offset(r);
    Floats<N> kept[kKept], kept_from[kKept];
#pragma unroll
    for (int k = 0; k < kKept; k++) {
      const int32_t v = start + k * step;
      if (v < count) {
        kept[k] = load<N>(row + v * N);
        kept_from[k] = load<N>(from + v * N);
      }
    }
    // Calls f(vector, its elements of x and of the gradient) for all vectors of this thread; those that are not kept in
    // registers are read again.
    auto for_each = [&](auto f) {
#pragma unroll
      for (int k = 0; k < kKept; k++) {
        const int32_t v = start + k * step;
        if (v < count) {
          f(v, kept[k], kept_from[k]);
        }
      }
#pragma unroll 1
      for (int32_t v = start + kKept * step; v < count; v += step) {
        f(v, load<N>(row + v * N), load<N>(from + v * N));
      }
    };

    float mean = 0;
    if constexpr (kCenter) {
      float sum = 0;
      for_each([&](int32_t, const Floats<N>& values, const Floats<N>&) {
#pragma unroll
        for (int i = 0; i < N; i++) {
          sum += values[i];
        }
      });
      mean = block_sum(sum, scratch[0]) * share;
    }
    float squares = 0;
    for_each([&](int32_t, const Floats<N>& values, const Floats<N>&) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float deviation = values[i] - mean;
        squares = fmaf(deviation, deviation, squares);
      }
    });
    const float factor = rsqrtf(block_sum(squares, scratch[1]) * share + eps);

    float sums[2] = {};  // of the gradients by the normalised row, and of their products with it
    for_each([&](int32_t v, const Floats<N>& values, const Floats<N>& along) {
      const Floats<N> scale = load<N>(weight + v * N);
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float by_normed = along[i] * (scale[i] + offset);
        sums[0] += by_normed;
        sums[1] = fmaf(by_normed, (values[i] - mean) * factor, sums[1]);
      }
    });
    sum_warps(sums, both);
    const float centre = kCenter ? sum_of_warps(both, 0) * share : 0;
    const float product = sum_of_warps(both, 1) * share;

    auto finish = [&](int32_t v, const Floats<N>& values, const Floats<N>& along, Floats<N>& weight_sum,
                      Floats<N>& bias_sum) {
      const Floats<N> scale = load<N>(weight + v * N);
      Floats<N> result;
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float normed = (values[i] - mean) * factor;
        result[i] = (along[i] * (scale[i] + offset) - centre - normed * product) * factor;
        weight_sum[i] = fmaf(along[i], normed, weight_sum[i]);
        bias_sum[i] += along[i];
      }
      store(to + v * N, result);
    };
#pragma unroll
    for (int k = 0; k < kKept; k++) {
      const int32_t v = start + k * step;
      if (v < count) {
        finish(v, kept[k], kept_from[k], weight_sums[k], bias_sums[k]);
      }
    }
    // The sums of further vectors stand in memory from row to row.
#pragma unroll 1
    for (int32_t v = start + kKept * step; v < count; v += step) {
      Floats<N> weight_sum = {}, bias_sum = {};
      if (r > rows.first) {
        weight_sum = load<N>(by_weight + v * N);
        if (kCenter && by_bias != nullptr) {
          bias_sum = load<N>(by_bias + v * N);
        }
      }
      finish(v, load<N>(row + v * N), load<N>(from + v * N), weight_sum, bias_sum);
      store(by_weight + v * N, weight_sum);
      if (kCenter && by_bias != nullptr) {
        store(by_bias + v * N, bias_sum);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kKept; k++) {
    const int32_t v = start + k * step;
    if (v < count) {
      store(by_weight + v * N, weight_sums[k]);
      if (kCenter && by_bias != nullptr) {
        store(by_bias + v * N, bias_sums[k]);
      }
    }
  }
}

template <bool kCenter, class W>
__device__ __forceinline__ void norm_gradients(const float* x, const W* weight, const float* gradient,
                                               float* by_weight, float* by_bias, float* out, int64_t rows,
                                               int64_t part, int64_t columns, float eps, float offset) {
  const int64_t sets = gridDim.y, set = blockIdx.y;
  const int64_t first = blockIdx.x * part;
  const Rows own = {first, min(first + part, rows / sets), sets, set, columns};
  const int64_t sums = (blockIdx.x * sets + set) * columns;
  weight += set * columns;
  by_weight += sums;
  by_bias = by_bias == nullptr ? by_bias : by_bias + sums;
  const bool vectors = columns % 4 == 0 && aligned4(x) && aligned4(weight) && aligned4(gradient) &&
                       aligned4(by_weight) && aligned4(by_bias) && aligned4(out);
  if (vectors) {
    norm_gradients<4, kCenter>(own, x, weight, gradient, by_weight, by_bias, out, eps, offset);
  } else {
    norm_gradients<1, kCenter>(own, x, weight, gradient, by_weight, by_bias, out, eps, offset);
  }
}

}  // namespace

// x, gradient, out [rows, columns]; weight [sets, columns]; by_weight, by_bias [parts, sets, columns], by_bias null for
// none. Row r has row r % sets of the weights; a part is `part` rows of each set. grid (parts, sets), an RMS norm
// having one set.
#define LACO_NORM_GRADIENTS(name, W)                                                                             \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_rms_norm_gradient_##name##_v1(              \
      const float* x, const W* weight, const float* gradient, float* by_weight, float* out, int64_t rows,        \
      int64_t part, int64_t columns, float eps, float offset) {                                                  \
    norm_gradients<false>(x, weight, gradient, by_weight, nullptr, out, rows, part, columns, eps, offset);       \
  }                                                                                                              \
  LACO_EXPORT(laco_rms_norm_gradient_##name##_v1)                                                                \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_layer_norm_gradient_##name##_v1(            \
      const float* x, const W* weight, const float* gradient, float* by_weight, float* by_bias, float* out,      \
      int64_t rows, int64_t part, int64_t columns, float eps, float offset) {                                    \
    norm_gradients<true>(x, weight, gradient, by_weight, by_bias, out, rows, part, columns, eps, offset);        \
  }                                                                                                              \
  LACO_EXPORT(laco_layer_norm_gradient_##name##_v1)

LACO_NORM_GRADIENTS(f32, float)
LACO_NORM_GRADIENTS(f16, __half)
LACO_NORM_GRADIENTS(bf16, __nv_bfloat16)
