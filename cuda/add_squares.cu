// Sums of squares of columns.
//
//   laco_add_squares_f32_v1    a block takes 32 columns, one for each lane; each of its 8 warps takes every
//                              eighth row; 4 bytes and one operation per element; bound by memory
//
// Runs of 16 squares are added up in f32 and the runs in f64, in an order that depends only on the shape.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRun = 16;

}  // namespace

// out [columns] += the sums over x [rows, columns]. grid = ceil(columns / 32).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_add_squares_f32_v1(const float* x, float* out, int64_t rows, int64_t columns) {
  __shared__ double scratch[kWarps][kWarp];
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  double sum = 0;
  if (column < columns) {
    for (int64_t start = warp; start < rows; start += kRun * kWarps) {
      float run = 0;
#pragma unroll
      for (int k = 0; k < kRun; k++) {
        const int64_t r = start + k * kWarps;
        const float value = r < rows ? x[r * columns + column] : 0.0f;
        run = fmaf(value, value, run);
      }
      sum += static_cast<double>(run);
    }
  }
  scratch[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < columns) {
    for (int other = 1; other < kWarps; other++) {
      sum += scratch[other][lane];
    }
    out[column] += static_cast<float>(sum);
  }
}
LACO_EXPORT(laco_add_squares_f32_v1)
