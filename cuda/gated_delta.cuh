// What the kernels of the gated delta rule share: where the heads of a token lie, what becomes of its numbers, and states in
// the registers of a warp.
#pragma once

#include "common.cuh"

namespace laco {

constexpr int kMostKey = 256;
// Rows of a state that a warp has; wider keys have several warps for the same columns.
constexpr int kBlockRows = 128;
// What is added to the sum of the squares of a query or key.
constexpr float kLengthEps = 1e-6f;

// As dev.laco.backend.DeltaSpec has them: the queries of all heads, then their keys, then their values.
struct DeltaHeads {
  int key_heads, value_heads, key, value;

  __device__ __forceinline__ int group() const { return value_heads / key_heads; }
  __device__ __forceinline__ int keys() const { return key_heads * key; }
  __device__ __forceinline__ int values() const { return value_heads * value; }
  __device__ __forceinline__ int row() const { return 2 * keys() + values(); }
};

// Where a value head's numbers of token 0 lie, and how far from token to token.
struct HeadPlace {
  int row, query, key, value;  // in a row of heads
  int values, result;          // in a row of results
  int scalars, scalar;         // in a row of numbers of each head

  __device__ HeadPlace(const DeltaHeads& dims, int head)
      : row(dims.row()), query(head / dims.group() * dims.key), key(dims.keys() + query),
        value(2 * dims.keys() + head * dims.value), values(dims.values()), result(head * dims.value),
        scalars(dims.value_heads), scalar(head) {}
};

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// The logarithm of the share of a state that is kept, of x = decay + bias; NaN stays.
__device__ __forceinline__ float log_share(float x, float log_decay) {
  return -expf(log_decay) * (fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
}

// By a warp: `width` elements, from `first` on, of a query or key times `factor` and divided by its length; zeros behind it.
__device__ __forceinline__ void put_unit(const float* from, int key, float factor, int first, int width, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float squares = 0;
#pragma unroll 4
  for (int i = lane; i < key; i += kWarp) {
    squares = fmaf(from[i], from[i], squares);
  }
  const float scale = factor * rsqrtf(warp_sum(squares) + kLengthEps);
#pragma unroll 4
  for (int i = lane; i < width; i += kWarp) {
    to[i] = first + i < key ? from[first + i] * scale : 0.0f;
  }
}

// By a warp: the columns of a block, of which `count` are there, and zeros behind them.
__device__ __forceinline__ void put_columns(const float* from, int count, int columns, float* to) {
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < columns; i += kWarp) {
    to[i] = i < count ? from[i] : 0.0f;
  }
}

// Columns of kBlockRows rows of a state [key, value], or of the gradient by it, in the registers of a warp. A lane has kColumns
// neighbours, and four lanes have those of the warp; each of eight groups of four lanes has every eighth vector of four rows.
template <int kColumns>
struct StateTile {
  static constexpr int kRows = kBlockRows / 8;  // of a lane
  static constexpr int kWidth = 4 * kColumns;
  float at[kRows][kColumns];

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  // The lane's first column of the warp's.
  static __device__ __forceinline__ int column() { return lane() % 4 * kColumns; }
  // The row of the lane's r-th.
  static __device__ __forceinline__ int row(int r) { return r / 4 * kWarp + lane() / 4 * 4 + r % 4; }

  // Calls f(r, element of that row of a vector in shared memory) for the lane's rows.
  template <class Function>
  static __device__ __forceinline__ void for_rows(const float* vector, Function f) {
#pragma unroll
    for (int m = 0; m < kRows / 4; m++) {
      const Floats<4> four = load<4>(vector + m * kWarp + lane() / 4 * 4);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        f(4 * m + i, four[i]);
      }
    }
  }

  template <class Function>
  __device__ __forceinline__ void fill(Function f) {
#pragma unroll
    for (int r = 0; r < kRows; r++) {
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        at[r][c] = f(r, c);
      }
    }
  }

  // Sums over all rows, which all lanes of a column get.
  static __device__ __forceinline__ void sum_rows(float (&sums)[kColumns]) {
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
#pragma unroll
      for (int distance = 4; distance < kWarp; distance *= 2) {
        sums[c] += __shfl_xor_sync(~0u, sums[c], distance);
      }
    }
  }

  // Sums of sums over the warps, `blocks` neighbours, that have the rows of the same columns. `scratch` is used for nothing
  // else until the block has met once more.
  template <int kWarps>
  static __device__ __forceinline__ void sum_blocks(float (&sums)[kColumns], int blocks, float (&scratch)[kWarps][kWidth]) {
    if (blocks == 1) {
      return;
    }
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
      if (lane() < 4) {
        scratch[warp][column() + c] = sums[c];
      }
    }
    __syncthreads();
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
      sums[c] = scratch[warp - warp % blocks][column() + c] + scratch[warp - warp % blocks + 1][column() + c];
    }
  }

  // Sums over the warp's columns of what its lanes have of each row, into a vector in shared memory. Each of four lanes
  // gets the sums of a quarter of their rows.
  static __device__ __forceinline__ void put_sums(const float (&x)[kRows], float* to) {
    constexpr int kHalf = kRows / 2, kQuarter = kRows / 4;
    const bool upper_half = (lane() & 2) != 0, upper_quarter = (lane() & 1) != 0;
    float halves[kHalf];
#pragma unroll
    for (int r = 0; r < kHalf; r++) {
      const float other = __shfl_xor_sync(~0u, upper_half ? x[r] : x[kHalf + r], 2);
      halves[r] = (upper_half ? x[kHalf + r] : x[r]) + other;
    }
    float sums[kQuarter];
#pragma unroll
    for (int r = 0; r < kQuarter; r++) {
      const float other = __shfl_xor_sync(~0u, upper_quarter ? halves[r] : halves[kQuarter + r], 1);
      sums[r] = (upper_quarter ? halves[kQuarter + r] : halves[r]) + other;
    }
#pragma unroll
    for (int r = 0; r < kQuarter; r += 4) {
      const Floats<4> four = {{sums[r], sums[r + 1], sums[r + 2], sums[r + 3]}};
      store(to + row(lane() % 4 * kQuarter + r), four);
    }
  }
};

}  // namespace laco
