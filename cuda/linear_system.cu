// The steps of a linear solve beside cuSOLVER's factorisation and cuBLAS's triangular solves: making f64 matrices from
// f32, adding penalties to a diagonal, checking a factor, and rounding to f32. A thread of an elementwise kernel takes
// four neighbours.
//
//   laco_widen_difference_f64_v1    out = a - b, exact: 16 bytes and an operation per element, 12 bytes where there is
//                                   no b; bound by memory
//   laco_add_to_diagonal_f64_v1     one block: the trace, then every element of the diagonal
//   laco_check_pivots_f64_v1        one warp: the first element of the diagonal that is not a positive finite number
//   laco_round_f64_v1               out = scale * x, rounded to f32 once: 12 bytes per element; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// N neighbours: 4, aligned to 16 bytes, or 1.
template <int N>
__device__ __forceinline__ void load(const double* p, double (&x)[N]) {
  if constexpr (N == 4) {
    const double2 first = reinterpret_cast<const double2*>(p)[0];
    const double2 second = reinterpret_cast<const double2*>(p)[1];
    x[0] = first.x;
    x[1] = first.y;
    x[2] = second.x;
    x[3] = second.y;
  } else {
    x[0] = *p;
  }
}

template <int N>
__device__ __forceinline__ void store(double* p, const double (&x)[N]) {
  if constexpr (N == 4) {
    reinterpret_cast<double2*>(p)[0] = make_double2(x[0], x[1]);
    reinterpret_cast<double2*>(p)[1] = make_double2(x[2], x[3]);
  } else {
    *p = x[0];
  }
}

}  // namespace

// b may be null: zeros. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_widen_difference_f64_v1(const float* a, const float* b, double* out, int64_t n) {
  const bool vectors = aligned4(a) && (b == nullptr || aligned4(b)) && aligned(out, 16);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const Floats<N> x = load<N>(a + i);
    double wide[N];
#pragma unroll
    for (int k = 0; k < N; k++) {
      wide[k] = static_cast<double>(x[k]);
    }
    if (b != nullptr) {
      const Floats<N> less = load<N>(b + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        wide[k] -= static_cast<double>(less[k]);
      }
    }
    store(out + i, wide);
  });
}
LACO_EXPORT(laco_widen_difference_f64_v1)

// a_ii += share a_ii + mean tr(a) / n + constant, a [n, n]. grid = 1.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_add_to_diagonal_f64_v1(double* a, int64_t n, double share, double mean, double constant) {
  __shared__ double scratch[kMostWarps][1];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    sum += a[i * (n + 1)];
  }
  const double more = mean * block_sum(sum, scratch) / static_cast<double>(n) + constant;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    const double value = a[i * (n + 1)];
    a[i * (n + 1)] = value + (share * value + more);
  }
}
LACO_EXPORT(laco_add_to_diagonal_f64_v1)

// If *info is 0, writes the least i + 1 with a_ii NaN or infinite to *info, a [n, n]: a factorisation that compares
// pivots with 0 does not find these. grid = 1, a block of one warp.
extern "C" __global__ void __launch_bounds__(kWarp)
    laco_check_pivots_f64_v1(const double* a, int64_t n, int32_t* info) {
  int64_t first = n;
  for (int64_t i = threadIdx.x; i < n; i += kWarp) {
    const double pivot = a[i * (n + 1)];
    // False for NaN.
    if (!(pivot < __longlong_as_double(0x7ff0000000000000))) {
      first = min(first, i);
    }
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    first = min(first, static_cast<int64_t>(__shfl_xor_sync(~0u, first, distance)));
  }
  if (threadIdx.x == 0 && *info == 0 && first < n) {
    *info = static_cast<int32_t>(first + 1);
  }
}
LACO_EXPORT(laco_check_pivots_f64_v1)

// grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_round_f64_v1(const double* x, float* out, double scale, int64_t n) {
  const bool vectors = aligned(x, 16) && aligned4(out);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    double wide[N];
    load(x + i, wide);
    Floats<N> rounded;
#pragma unroll
    for (int k = 0; k < N; k++) {
      rounded[k] = __double2float_rn(scale * wide[k]);
    }
    store(out + i, rounded);
  });
}
LACO_EXPORT(laco_round_f64_v1)
