// Norms of rows, alone or fused with the residual sum before them. A block takes a row, of which every thread
// keeps up to kKept vectors in registers: rows of up to 16 elements per thread are read once.
//
//   laco_rms_norm_<W>_v1         (offset + weight) x / rms(x): 8 bytes of activations per element; weights come from the L2
//   laco_add_rms_norm_<W>_v1     x += y, out = norm(x): 16 bytes, where two launches move 20
//   laco_layer_norm_<W>_v1       the variance about the mean, in a second pass: nothing cancels. Row r has row r % sets of
//                                weight and bias; a bias may be null.
//   laco_add_layer_norm_<W>_v1   likewise, with one row of weight and bias
//   laco_inverse_rms_<X>_v1      1 / sqrt(max(mean(x^2), floor)) alone: 4 bytes per element, of 16-bit types 2
//
// Some ten operations per element: all are bound by memory. out may be x, or y, where it is f32; in 16 bits, for products
// alone, it takes 2 bytes less, and no launch rounds it. `type`: the code of out's type.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kMostThreads = 512;  // any multiple of 32 up to it
constexpr int kKept = 4;

// One row of fewer than 2^31 elements, N of them at a time; kCenter for layer norm. `offset` is added to weights.
template <int N, bool kAdd, bool kCenter, class W>
__device__ __forceinline__ void norm_row(float* x, const float* y, const W* weight, const W* bias,
                                         Activations out, int64_t columns, float eps, float offset) {
  __shared__ float scratch[2][kMostWarps][1];
  const int32_t count = static_cast<int32_t>(columns / N);
  const int32_t first = static_cast<int32_t>(threadIdx.x);
  const int32_t step = static_cast<int32_t>(blockDim.x);

  auto read = [&](int32_t v) {
    Floats<N> values = load<N>(x + v * N);
    if constexpr (kAdd) {
      const Floats<N> added = load<N>(y + v * N);
#pragma unroll
      for (int i = 0; i < N; i++) {
        values[i] += added[i];
      }
    }
    return values;
  };
  Floats<N> kept[kKept];
#pragma unroll
  for (int k = 0; k < kKept; k++) {
    const int32_t v = first + k * step;
    if (v < count) {
      kept[k] = read(v);
    }
  }
  // Calls f(vector, its values) for all vectors of this thread; vectors that are not kept in registers are read again.
  auto for_each = [&](auto f) {
#pragma unroll
    for (int k = 0; k < kKept; k++) {
      const int32_t v = first + k * step;
      if (v < count) {
        f(v, kept[k]);
      }
    }
#pragma unroll 1
    for (int32_t v = first + kKept * step; v < count; v += step) {
      f(v, read(v));
    }
  };

  float mean = 0;
  if constexpr (kCenter) {
    float sum = 0;
    for_each([&](int32_t, const Floats<N>& values) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        sum += values[i];
      }
    });
    mean = block_sum(sum, scratch[0]) / static_cast<float>(columns);
  }
  float squares = 0;
  for_each([&](int32_t, const Floats<N>& values) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      const float deviation = values[i] - mean;
      squares = fmaf(deviation, deviation, squares);
    }
  });
  const float variance = block_sum(squares, scratch[1]) / static_cast<float>(columns);
  const float factor = rsqrtf(variance + eps);
  for_each([&](int32_t v, const Floats<N>& values) {
    if constexpr (kAdd) {
      store(x + v * N, values);
    }
    const Floats<N> scale = load<N>(weight + v * N);
    Floats<N> result;
#pragma unroll
    for (int i = 0; i < N; i++) {
      result[i] = (scale[i] + offset) * ((values[i] - mean) * factor);
    }
    if constexpr (kCenter) {
      if (bias != nullptr) {
        const Floats<N> shift = load<N>(bias + v * N);
#pragma unroll
        for (int i = 0; i < N; i++) {
          result[i] += shift[i];
        }
      }
    }
    store(out, v * N, result);
  });
}

template <bool kAdd, bool kCenter, class W>
__device__ __forceinline__ void norm(float* x, const float* y, const W* weight, const W* bias,
                                     Activations out, int64_t columns, float eps, float offset) {
  x += blockIdx.x * columns;
  y += kAdd ? blockIdx.x * columns : 0;
  out = out.behind(blockIdx.x * columns);
  const bool vectors = columns % 4 == 0 && aligned4(x) && aligned4(y) && out.aligned4() && aligned4(weight) &&
                       aligned4(bias);
  if (vectors) {
    norm_row<4, kAdd, kCenter>(x, y, weight, bias, out, columns, eps, offset);
  } else {
    norm_row<1, kAdd, kCenter>(x, y, weight, bias, out, columns, eps, offset);
  }
}

// sum plus the squares of a vector, or of an element.
template <class X>
__device__ __forceinline__ float add_squares(uint4 raw, float sum) {
  float x[kVector<X>];
  unpack<X>(raw, x);
#pragma unroll
  for (int i = 0; i < kVector<X>; i++) {
    sum = fmaf(x[i], x[i], sum);
  }
  return sum;
}
template <class X>
__device__ __forceinline__ float add_squares(X x, float sum) {
  return fmaf(widen(x), widen(x), sum);
}

// The sum of squares of this thread's share of a row of `count` vectors or elements, of which kAtOnce are loaded before
// the first is used.
template <class X, class Loaded>
__device__ __forceinline__ float squares_of_thread(const Loaded* row, int64_t count) {
  constexpr int kAtOnce = 4;
  float squares = 0;
  for (int64_t v = threadIdx.x; v < count; v += kAtOnce * blockDim.x) {
    Loaded loaded[kAtOnce] = {};
#pragma unroll
    for (int k = 0; k < kAtOnce; k++) {
      if (v + k * blockDim.x < count) {
        loaded[k] = row[v + k * blockDim.x];
      }
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; k++) {
      squares = add_squares<X>(loaded[k], squares);
    }
  }
  return squares;
}

template <class X>
__device__ __forceinline__ void inverse_rms(const X* x, float* out, int64_t columns, float floor) {
  __shared__ float scratch[kMostWarps][1];
  const X* row = x + blockIdx.x * columns;
  const bool vectors = columns % kVector<X> == 0 && aligned(row, sizeof(uint4));
  float squares = vectors ? squares_of_thread<X>(reinterpret_cast<const uint4*>(row), columns / kVector<X>)
                          : squares_of_thread<X>(row, columns);
  squares = block_sum(squares, scratch);
  if (threadIdx.x == 0) {
    const float mean = squares / static_cast<float>(columns);
    out[blockIdx.x] = 1.0f / sqrtf(mean < floor ? floor : mean);  // NaN stays
  }
}

}  // namespace

#define LACO_NORMS(name, W)                                                                                  \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_rms_norm_##name##_v1(                     \
      const float* x, const W* weight, void* out, int64_t columns, float eps, float offset, int32_t type) {    \
    norm<false, false, W>(const_cast<float*>(x), nullptr, weight, nullptr, {out, type}, columns, eps, offset); \
  }                                                                                                            \
  LACO_EXPORT(laco_rms_norm_##name##_v1)                                                                       \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_add_rms_norm_##name##_v1(                 \
      float* x, const float* y, const W* weight, void* out, int64_t columns, float eps, float offset,          \
      int32_t type) {                                                                                          \
    norm<true, false, W>(x, y, weight, nullptr, {out, type}, columns, eps, offset);                            \
  }                                                                                                            \
  LACO_EXPORT(laco_add_rms_norm_##name##_v1)                                                                   \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_layer_norm_##name##_v1(                   \
      const float* x, const W* weight, const W* bias, void* out, int64_t columns, int32_t sets, float eps,     \
      float offset, int32_t type) {                                                                            \
    const int64_t set = blockIdx.x % static_cast<uint32_t>(sets) * columns;                                    \
    norm<false, true>(const_cast<float*>(x), nullptr, weight + set, bias == nullptr ? bias : bias + set,       \
                      {out, type}, columns, eps, offset);                                                      \
  }                                                                                                            \
  LACO_EXPORT(laco_layer_norm_##name##_v1)                                                                     \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1) laco_add_layer_norm_##name##_v1(               \
      float* x, const float* y, const W* weight, const W* bias, void* out, int64_t columns, float eps,         \
      float offset, int32_t type) {                                                                            \
    norm<true, true>(x, y, weight, bias, {out, type}, columns, eps, offset);                                   \
  }                                                                                                            \
  LACO_EXPORT(laco_add_layer_norm_##name##_v1)

LACO_NORMS(f32, float)
LACO_NORMS(f16, __half)
LACO_NORMS(bf16, __nv_bfloat16)

// out [rows], a number for each row of x. grid = rows.
#define LACO_INVERSE_RMS(name, X)                                        \
  extern "C" __global__ void __launch_bounds__(kMostThreads, 1)          \
      name(const X* x, float* out, int64_t columns, float floor) {       \
    inverse_rms(x, out, columns, floor);                                 \
  }                                                                      \
  LACO_EXPORT(name)

LACO_INVERSE_RMS(laco_inverse_rms_f32_v1, float)
LACO_INVERSE_RMS(laco_inverse_rms_f16_v1, __half)
LACO_INVERSE_RMS(laco_inverse_rms_bf16_v1, __nv_bfloat16)
