// What an expert gives its tokens, added to their rows: x[rows[i]] += factors[i] * y[i]. A block takes a row; no row
// is named twice, so that no two blocks write to the same one.
//
//   laco_add_rows_f32_v1    12 bytes and one multiply-add per element; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

template <int N>
__device__ __forceinline__ void add_row(float* to, const float* from, float factor, int64_t columns) {
  for (int64_t i = threadIdx.x * N; i < columns; i += kThreads * N) {
    Floats<N> sum = load<N>(to + i);
    const Floats<N> more = load<N>(from + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      sum[k] = fmaf(factor, more[k], sum[k]);
    }
    store(to + i, sum);
  }
}

}  // namespace

// x [R, columns], y [count, columns], rows below R. grid = count.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_add_rows_f32_v1(float* x, const float* y, const int32_t* rows, const float* factors, int64_t columns) {
  float* const to = x + rows[blockIdx.x] * columns;
  const float* const from = y + blockIdx.x * columns;
  const float factor = factors[blockIdx.x];
  if (columns % 4 == 0 && aligned4(to) && aligned4(from)) {
    add_row<4>(to, from, factor, columns);
  } else {
    add_row<1>(to, from, factor, columns);
  }
}
LACO_EXPORT(laco_add_rows_f32_v1)
