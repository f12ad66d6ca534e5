// Code that the kernels on tensor cores share. Each instruction without a name in C++ stands here once, with the code
// that the emulator runs in its place.
#pragma once

#include "common.cuh"

namespace laco {

// ---- matrix products

template <class T>
constexpr bool kIsHalf = false;
template <>
constexpr bool kIsHalf<__half> = true;

// d += a b, for matrices that a warp holds in pieces (PTX ISA, mma.m16n8k16). Lane l has, with g = l / 4
// and t = l % 4, two neighbours of T in every word:
//   a [16, 16]  a[0] row g, columns 2t and 2t + 1; a[1] row g + 8; a[2] and a[3] likewise, 8 columns on
//   b [16, 8]   b0 column g, rows 2t and 2t + 1; b1 likewise, 8 rows on
//   d [16, 8]   d[0], d[1] row g, columns 2t and 2t + 1; d[2], d[3] row g + 8
template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
#ifdef LACO_EMULATED
  struct Lane {
    float (&d)[4];
    const uint32_t (&a)[4];
    uint32_t b[2];
  } lane{d, a, {b0, b1}};
  simt::together<Lane>(~0u, lane, [](Lane* const* lanes) {
    float left[16][16], right[8][16];
    for (int l = 0; l < kWarp; l++) {
      const int g = l / 4, t = l % 4;
      for (int i = 0; i < 4; i++) {
        const float2 two = widen_two<T>(lanes[l]->a[i]);
        float* to = &left[g + i % 2 * 8][2 * t + i / 2 * 8];
        to[0] = two.x, to[1] = two.y;
      }
      for (int i = 0; i < 2; i++) {
        const float2 two = widen_two<T>(lanes[l]->b[i]);
        float* to = &right[g][2 * t + i * 8];
        to[0] = two.x, to[1] = two.y;
      }
    }
    for (int l = 0; l < kWarp; l++) {
      for (int i = 0; i < 4; i++) {
        float sum = lanes[l]->d[i];
        for (int k = 0; k < 16; k++) {
          sum += left[l / 4 + i / 2 * 8][k] * right[l % 4 * 2 + i % 2][k];
        }
        lanes[l]->d[i] = sum;
      }
    }
  });
#else
  if constexpr (kIsHalf<T>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

// ---- tiles in shared memory

// The index of element (row, column) of a tile of 2-byte elements. The order of the 16-byte vectors differs from row
// to row, so that the vectors of eight rows in one column, which load_matrices reads, lie in all 32 banks.
// The pattern repeats every 8 rows.
template <int kColumns>
__device__ __forceinline__ int swizzled(int row, int column) {
  constexpr int kVectors = kColumns / 8;
  static_assert(kVectors == 4 || kVectors % 8 == 0, "a row is half of the banks, or all, a number of times");
  const int turn = kVectors == 4 ? row / 2 % 4 : row % 8;
  return row * kColumns + ((column / 8 ^ turn) * 8 | column % 8);
}

// A place in shared memory as the instructions take it: 32 bits, to which bytes are added.
#ifdef LACO_EMULATED
using Shared = unsigned char*;
#else
using Shared = uint32_t;
#endif

__device__ __forceinline__ Shared shared_place(void* p) {
#ifdef LACO_EMULATED
  return static_cast<unsigned char*>(p);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#endif
}

__device__ __forceinline__ void* shared_pointer(Shared place) {
#ifdef LACO_EMULATED
  return place;
#else
  return __cvta_shared_to_generic(place);
#endif
}

// Four matrices of 8 x 8 two-byte elements: lane l names the 16 bytes of row l % 8 of matrix l / 8, and
// gets of every matrix i, in piece[i], elements 2 (l % 4) and the next of row l / 4; of the matrices'
// transposes if kTransposed.
template <bool kTransposed = false>
__device__ __forceinline__ void load_matrices(uint32_t (&piece)[4], Shared row) {
#ifdef LACO_EMULATED
  struct Lane {
    uint32_t (&piece)[4];
    Shared row;
  } lane{piece, row};
  simt::together<Lane>(~0u, lane, [](Lane* const* lanes) {
    uint16_t matrix[4][8][8];
    for (int l = 0; l < kWarp; l++) {
      const uint4 whole = *reinterpret_cast<const uint4*>(lanes[l]->row);
      std::memcpy(matrix[l / 8][l % 8], &whole, sizeof whole);
    }
    for (int l = 0; l < kWarp; l++) {
      const int g = l / 4, t = l % 4;
      for (int i = 0; i < 4; i++) {
        const uint32_t first = kTransposed ? matrix[i][2 * t][g] : matrix[i][g][2 * t];
        const uint32_t second = kTransposed ? matrix[i][2 * t + 1][g] : matrix[i][g][2 * t + 1];
        lanes[l]->piece[i] = first | second << 16;
      }
    }
  });
#else
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(piece[0]), "=r"(piece[1]), "=r"(piece[2]), "=r"(piece[3])
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(piece[0]), "=r"(piece[1]), "=r"(piece[2]), "=r"(piece[3])
                 : "r"(row)
                 : "memory");
  }
#endif
}

// ---- copies to shared memory that the thread does not wait for

// kBytes, 8 or 16, to addresses that are multiples of it: the first `valid` from memory, then zeros.
template <int kBytes>
__device__ __forceinline__ void copy_async(Shared to, const void* from, int valid) {
#ifdef LACO_EMULATED
  simt::copy_async(to, from, kBytes, static_cast<unsigned>(valid));
#else
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(kBytes),
                 "r"(valid)
                 : "memory");
  }
#endif
}

// Ends a group: the copies since the last one, maybe none.
__device__ __forceinline__ void commit_copies() {
#ifdef LACO_EMULATED
  simt::commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all of this thread's groups except the latest kPending have ended.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
#ifdef LACO_EMULATED
  simt::wait_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Copies kCount elements, the first `valid` from memory, the others zeros. Vectors are copied asynchronously, single
// elements at once.
template <int kCount, bool kVectors, class T>
__device__ __forceinline__ void copy_some(Shared to, const T* from, int valid) {
  constexpr int kBytes = kCount * static_cast<int>(sizeof(T));
  if constexpr (kVectors) {
    copy_async<kBytes>(to, from, valid > 0 ? kBytes : 0);
  } else {
    for (int i = 0; i < kCount; i++) {
      static_cast<T*>(shared_pointer(to))[i] = i < valid ? from[i] : narrow<T>(0);
    }
  }
}

// ---- math

// 2^x to two units in the last place of the result; subnormal results are 0.
__device__ __forceinline__ float exp2_quick(float x) {
#ifdef LACO_EMULATED
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace laco
