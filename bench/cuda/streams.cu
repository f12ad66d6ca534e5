// What the bench needs on a device beside the kernels that it measures.
//
//   laco_bench_stream_<r>_<w>_v1   reads r arrays and writes w, all of one size and nothing else: the ceiling of a
//                                  kernel that reads and writes in this proportion
//   laco_bench_fill_<T>_v1         made-up values, so that models of any size need no copy from the host
//   laco_bench_nothing_v1          what a launch costs
//   laco_bench_arguments_v1        the same with as many arguments as the longest of our kernels takes
#include "common.cuh"

namespace laco {

// Vectors of an array that a thread takes at once, so that enough loads are on the way.
constexpr int kTogether = 4;

// The arrays lie one behind the other. `vectors`, of each, is a multiple of blockDim.x * kTogether. Any grid: one
// block for each part, or as many as the device holds at once, each of which goes on to further parts.
template <int kReads, int kWrites>
__device__ __forceinline__ void stream(const uint4* __restrict__ from, uint4* __restrict__ to, int64_t vectors) {
  const int64_t part = static_cast<int64_t>(blockDim.x) * kTogether;
  for (int64_t start = blockIdx.x * part; start < vectors; start += gridDim.x * part) {
    uint4 x[kReads][kTogether];
#pragma unroll
    for (int r = 0; r < kReads; r++) {
#pragma unroll
      for (int i = 0; i < kTogether; i++) {
        x[r][i] = from[r * vectors + start + i * static_cast<int64_t>(blockDim.x) + threadIdx.x];
      }
    }
#pragma unroll
    for (int i = 0; i < kTogether; i++) {
      uint4 all = x[0][i];
#pragma unroll
      for (int r = 1; r < kReads; r++) {
        all = make_uint4(all.x ^ x[r][i].x, all.y ^ x[r][i].y, all.z ^ x[r][i].z, all.w ^ x[r][i].w);
      }
      const int64_t at = start + i * static_cast<int64_t>(blockDim.x) + threadIdx.x;
#pragma unroll
      for (int w = 0; w < kWrites; w++) {
        to[w * vectors + at] = all;
      }
      // What is never used would not be read. Random values are hardly ever all ones.
      if (kWrites == 0 && (all.x & all.y & all.z & all.w) == ~0u) {
        to[0] = all;
      }
    }
  }
}

// Neighbouring numbers become unrelated ones (a multiply-xorshift hash).
__device__ __forceinline__ uint32_t scatter(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// Uniform in (-scale, scale).
template <class T>
__device__ __forceinline__ void fill(T* out, int64_t n, float scale, int32_t seed) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += threads) {
    const uint32_t high = scatter(static_cast<uint32_t>(i >> 32) ^ static_cast<uint32_t>(seed));
    const uint32_t bits = scatter(static_cast<uint32_t>(i) ^ high);
    // 23 random bits behind the exponent of 2: from 2 up to 4.
    const float value = (__uint_as_float(0x40000000u | (bits >> 9)) - 3) * scale;
    out[i] = narrow<T>(value);
  }
}

}  // namespace laco

#define STREAM(reads, writes)                                                                               \
  extern "C" __global__ void __launch_bounds__(256)                                                         \
      laco_bench_stream_##reads##_##writes##_v1(const uint4* from, uint4* to, int64_t vectors) {            \
    laco::stream<reads, writes>(from, to, vectors);                                                         \
  }                                                                                                         \
  LACO_EXPORT(laco_bench_stream_##reads##_##writes##_v1)

STREAM(1, 0)
STREAM(1, 1)
STREAM(1, 2)
STREAM(2, 1)
STREAM(3, 1)
STREAM(4, 1)

#define FILL(name, type)                                                                  \
  extern "C" __global__ void __launch_bounds__(256)                                       \
      laco_bench_fill_##name##_v1(type* out, int64_t n, float scale, int32_t seed) {      \
    laco::fill(out, n, scale, seed);                                                      \
  }                                                                                       \
  LACO_EXPORT(laco_bench_fill_##name##_v1)

FILL(f32, float)
FILL(f16, __half)
FILL(bf16, __nv_bfloat16)

extern "C" __global__ void __launch_bounds__(256) laco_bench_nothing_v1() {}
LACO_EXPORT(laco_bench_nothing_v1)

extern "C" __global__ void __launch_bounds__(256)
    laco_bench_arguments_v1(const float*, const float*, const float*, float*, const int32_t*, const int32_t*,
                            const int32_t*, const float*, int32_t, int32_t, int32_t, int32_t, float, float) {}
LACO_EXPORT(laco_bench_arguments_v1)
