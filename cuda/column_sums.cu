// Sums of columns, and of their squares.
//
//   laco_column_sums_f32_v1    a block takes 32 columns, one for each lane, of a part of the rows; each of its 8 warps
//                              takes every eighth row of the part. With several parts out has a row for each, of
//                              which a second launch makes the sums.
//   laco_add_squares_f32_v1    likewise of squares, with all rows in one part
//
// 4 bytes and one operation per element: bound by memory. Runs of 16 terms are added up in f32 and the runs in f64, in an
// order that depends only on the shape.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRun = 16;

// The sum of add(sum, x) over the rows from `first` to `last` of the lane's column, for the threads of the first warp.
template <class Add>
__device__ __forceinline__ double sum_of_column(const float* x, int64_t first, int64_t last, int64_t columns,
                                                int64_t column, Add add) {
  __shared__ double scratch[kWarps][kWarp];
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  double sum = 0;
  if (column < columns) {
    for (int64_t start = first + warp; start < last; start += kRun * kWarps) {
      float run = 0;
#pragma unroll
      for (int k = 0; k < kRun; k++) {
        const int64_t r = start + k * kWarps;
        run = add(run, r < last ? x[r * columns + column] : 0.0f);
      }
      sum += static_cast<double>(run);
    }
  }
  scratch[warp][lane] = sum;
  __syncthreads();
  for (int other = 1; warp == 0 && other < kWarps; other++) {
    sum += scratch[other][lane];
  }
  return sum;
}

__device__ __forceinline__ int64_t column_of_lane() {
  return static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x % kWarp;
}

}  // namespace

// out [parts, columns] = the sums over each `part` rows of x [rows, columns]; with `adds` out += them.
// grid (ceil(columns / 32), parts).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_column_sums_f32_v1(const float* x, float* out, int64_t rows, int64_t columns, int64_t part, int32_t adds) {
  const int64_t first = blockIdx.y * part, column = column_of_lane();
  const float sum = static_cast<float>(sum_of_column(x, first, min(first + part, rows), columns, column,
                                                     [](float all, float value) { return all + value; }));
  if (threadIdx.x < kWarp && column < columns) {
    float* const to = out + blockIdx.y * columns + column;
    *to = adds != 0 ? *to + sum : sum;
  }
}
LACO_EXPORT(laco_column_sums_f32_v1)

// out [columns] += the sums over x [rows, columns]. grid = ceil(columns / 32).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_add_squares_f32_v1(const float* x, float* out, int64_t rows, int64_t columns) {
  const int64_t column = column_of_lane();
  const double sum = sum_of_column(x, 0, rows, columns, column,
                                   [](float all, float value) { return fmaf(value, value, all); });
  if (threadIdx.x < kWarp && column < columns) {
    out[column] += static_cast<float>(sum);
  }
}
LACO_EXPORT(laco_add_squares_f32_v1)
