// Dot products of the rows of two matrices.
//
//   laco_row_products_f32_v1    a block takes a row; 8 bytes and one operation per element: bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kMostThreads = 512;  // any multiple of 32 up to it

template <int N>
__device__ __forceinline__ float product_of_thread(const float* a, const float* b, int64_t columns) {
  float sum = 0;
  for (int64_t v = threadIdx.x; v < columns / N; v += blockDim.x) {
    const Floats<N> left = load<N>(a + v * N), right = load<N>(b + v * N);
#pragma unroll
    for (int i = 0; i < N; i++) {
      sum = fmaf(left[i], right[i], sum);
    }
  }
  return sum;
}

}  // namespace

// out [rows]; a, b [rows, columns]. grid = rows.
extern "C" __global__ void __launch_bounds__(kMostThreads)
    laco_row_products_f32_v1(const float* a, const float* b, float* out, int64_t columns) {
  __shared__ float scratch[kMostWarps][1];
  a += blockIdx.x * columns;
  b += blockIdx.x * columns;
  const bool vectors = columns % 4 == 0 && aligned4(a) && aligned4(b);
  const float sum =
      block_sum(vectors ? product_of_thread<4>(a, b, columns) : product_of_thread<1>(a, b, columns), scratch);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sum;
  }
}
LACO_EXPORT(laco_row_products_f32_v1)
