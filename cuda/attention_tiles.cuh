// Tiles of rows in 16 bits, as the kernels of attention and of its gradients on tensor cores have them in shared memory.
#pragma once

#include "mma.cuh"

namespace laco {

constexpr float kLog2E = 1.44269504f;

// Of two numbers of 16 bits, all bits of those that are NaN or infinite: whose exponent has all bits set.
template <class T>
__device__ __forceinline__ uint32_t not_finite(uint32_t two) {
  constexpr uint32_t low = kIsHalf<T> ? 0x7c00 : 0x7f80, high = low << 16;
  return ((two & low) == low ? 0xffffu : 0) | ((two & high) == high ? 0xffff0000u : 0);
}

// Copies kRowCount rows of T into a swizzled tile [kRowCount, kWidth] in shared memory while a product runs. A thread
// has the same column of every kRowStep rows, and waits for its own vectors before a barrier shows them to others.
template <class T, int kWidth, int kRowCount, int kThreads>
struct Copies {
  static constexpr int kLanes = kWidth / 8;  // vectors of a row
  static constexpr int kRowStep = kThreads / kLanes;
  static constexpr int kSteps = kRowCount / kRowStep;
  static_assert(kRowStep % 8 == 0 && kSteps * kRowStep == kRowCount, "steps are periods of the swizzle");

  __device__ static int row() { return static_cast<int>(threadIdx.x) / kLanes; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kLanes * 8; }
  __device__ static T* place(T* tile, int step) {
    return tile + swizzled<kWidth>(row(), column()) + step * kRowStep * kWidth;
  }

  // Row i begins at row_at(i) and has `width` elements; zeros follow.
  template <class RowAt>
  __device__ __forceinline__ static void ask(T* tile, RowAt row_at, int width, bool vectors) {
    const Shared to = shared_place(place(tile, 0));
    const int valid = width - column();
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
      const Shared at = to + step * kRowStep * kWidth * static_cast<int>(sizeof(T));
      const T* const from = row_at(row() + step * kRowStep) + column();
      if (vectors) {
        copy_some<8, true>(at, from, valid);
      } else {
        copy_some<8, false>(at, from, valid);
      }
    }
    commit_copies();
  }

  // Stores 0 in the place of this thread's values that are not finite; returns whether there was one.
  __device__ __forceinline__ static bool drop_infinite(T* tile) {
    bool dropped = false;
    auto keep = [&](uint32_t& two) {
      const uint32_t gone = not_finite<T>(two);
      two &= ~gone;
      dropped |= gone != 0;
    };
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
      uint4* const vector = reinterpret_cast<uint4*>(place(tile, step));
      uint4 words = *vector;
      keep(words.x);
      keep(words.y);
      keep(words.z);
      keep(words.w);
      *vector = words;
    }
    return dropped;
  }

  // Whether one of this thread's values is not finite.
  __device__ __forceinline__ static bool has_infinite(T* tile) {
    uint32_t found = 0;
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
      const uint4 words = *reinterpret_cast<const uint4*>(place(tile, step));
      found |= not_finite<T>(words.x) | not_finite<T>(words.y) | not_finite<T>(words.z) | not_finite<T>(words.w);
    }
    return found != 0;
  }
};

// The address that a lane gives to load_matrices for a swizzled tile [*, kWidth] in shared memory.
template <class T, int kWidth>
struct Pieces {
  Shared start;  // of the lane's row in the tile's first rows
  int vector;    // the vector that the lane names, of the first eight of its row, swizzled

  __device__ __forceinline__ Pieces(T* tile, int row, int column)
      : start(shared_place(tile + row * kWidth)), vector(column / 8 ^ row % 8) {}

  // The address `rows` further down, a multiple of 8, and `columns` to the right, a multiple of 16.
  template <bool kTransposed>
  __device__ __forceinline__ void load(uint32_t (&piece)[4], int rows, int columns) const {
    load_matrices<kTransposed>(
        piece, start + (vector ^ columns % 64 / 8) * 16 + columns / 64 * 128 + rows * kWidth * 2);
  }
};

// Products, weights and sums of 16 rows lie as multiply_add leaves its d: a lane has two rows, 8 apart, and of every 8
// columns two.
constexpr int kHalves = 2;

}  // namespace laco
