// What the kernels of the gated delta rule share: where the heads of a token lie, what becomes of its numbers, and states in
// the registers of a warp.
#pragma once

#include "common.cuh"

namespace laco {

constexpr int kMostKey = 256;
// What is added to the sum of the squares of a query or key.
constexpr float kLengthEps = 1e-6f;

// As dev.laco.backend.DeltaSpec has them: the queries of all heads, then their keys, then their values.
struct DeltaHeads {
  int key_heads, value_heads, key, value;

  __device__ __forceinline__ int group() const { return value_heads / key_heads; }
  __device__ __forceinline__ int64_t keys() const { return static_cast<int64_t>(key_heads) * key; }
  __device__ __forceinline__ int64_t values() const { return static_cast<int64_t>(value_heads) * value; }
  __device__ __forceinline__ int64_t row(int64_t token) const { return token * (2 * keys() + values()); }
  // The first columns of a value head's query, key and value.
  __device__ __forceinline__ int64_t query(int head) const { return static_cast<int64_t>(head / group()) * key; }
  __device__ __forceinline__ int64_t key_of(int head) const { return keys() + query(head); }
  __device__ __forceinline__ int64_t value_of(int head) const {
    return 2 * keys() + static_cast<int64_t>(head) * value;
  }
};

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// The logarithm of the share of a state that is kept, of x = decay + bias; NaN stays.
__device__ __forceinline__ float log_share(float x, float log_decay) {
  return -expf(log_decay) * (fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
}

// By a warp: a query or key times `factor`, divided by its length, and zeros behind it.
template <int kPadded>
__device__ __forceinline__ void put_unit(const float* from, int key, float factor, float* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float values[kPadded / kWarp];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kPadded / kWarp; k++) {
    const int i = lane + k * kWarp;
    values[k] = i < key ? from[i] : 0.0f;
    squares = fmaf(values[k], values[k], squares);
  }
  const float scale = factor * rsqrtf(warp_sum(squares) + kLengthEps);
#pragma unroll
  for (int k = 0; k < kPadded / kWarp; k++) {
    to[lane + k * kWarp] = values[k] * scale;
  }
}

// By a warp: the columns of a block, of which `count` are there, and zeros behind them.
__device__ __forceinline__ void put_columns(const float* from, int64_t count, int columns, float* to) {
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < columns; i += kWarp) {
    to[i] = i < count ? from[i] : 0.0f;
  }
}

// Columns of a state [key, value], or of the gradient by it, in the registers of a warp. A lane has kColumns neighbours, and
// four lanes have those of the warp; each of eight groups of four lanes has every eighth vector of four rows. Rows behind
// the key stay 0.
template <int kRows, int kColumns>
struct StateTile {
  static constexpr int kPadded = 8 * kRows;  // rows
  static constexpr int kWidth = 4 * kColumns;
  float at[kRows][kColumns];

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  // The lane's first column of the warp's.
  static __device__ __forceinline__ int column() { return lane() % 4 * kColumns; }
  // The row of the lane's r-th.
  static __device__ __forceinline__ int row(int r) { return r / 4 * kWarp + lane() / 4 * 4 + r % 4; }

  // Calls f(r, element of that row of a vector of kPadded in shared memory) for the lane's rows.
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

  // Sums over the warp's columns of what its lanes have of each row, into a vector of kPadded in shared memory. Each of four
  // lanes gets the sums of a quarter of their rows.
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
