// Code that the kernels share: element types, 16-byte vectors, rounding, sums over a warp and a block.
//
// The same sources are compiled three ways: by nvcc, by NVRTC, which has no host headers, and by g++ for
// the emulator (src/test/native/emulator), whose header comes first and defines LACO_EMULATED.
//
// Everywhere: matrices are row-major and contiguous, activations are f32, weights are f32, f16 or bf16.
// Rows, offsets and counts are 64-bit. A pointer is aligned to its element and need not be aligned to more: a kernel
// tests the address and uses vectors where they are aligned.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifdef __CUDACC_RTC__
using int32_t = int;
using uint32_t = unsigned;
using int64_t = long long;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#endif

#ifndef LACO_EMULATED
// Adds a kernel to the emulator's table; the CUDA driver finds a kernel by its name.
#define LACO_EXPORT(kernel)
// The dynamic shared memory of a block, as an array of T.
#define LACO_DYNAMIC_SHARED(T, name)             \
  extern __shared__ uint4 laco_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(laco_dynamic_shared)
#endif

namespace laco {

constexpr int kWarp = 32;

// ---- element types

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

// To nearest even.
template <class T>
__device__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Rounding f64 once, to nearest even, to the bits that DType.java and MemoryTensor.set give: y is an f32 that
// narrow<T> rounds to the T nearest to x. The f32 nearest to x is not always one: where x lies close to the
// middle between two T, it may lie in the middle itself. So x is rounded to odd: truncated, with the last bit set if
// anything was lost. Narrowing by two bits or more then gives what rounding x itself would (Boldo and Melquiond,
// "When double rounding is odd", 2005).
template <class T, int N>
__device__ __forceinline__ void round_for(const double (&x)[N], float (&y)[N]) {
  if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      y[i] = __double2float_rn(x[i]);
    }
  } else {
    // The upper word of f64 is laid out like f32, but for a longer exponent with another bias. Exponents from
    // kSmallest to below kEnd are those of normal f32.
    constexpr uint32_t kSmallest = (1023 - 126) << 20, kEnd = (1023 + 128) << 20;
    constexpr uint32_t kBias = (1023 - 127) << 20;
    bool normal = true;
#pragma unroll
    for (int i = 0; i < N; i++) {
      const uint32_t high = static_cast<uint32_t>(__double2hiint(x[i]));
      const uint32_t low = static_cast<uint32_t>(__double2loint(x[i]));
      const uint32_t magnitude = 8 * (high - kBias) + min(low, 1u);
      y[i] = copysignf(__uint_as_float(magnitude), __uint_as_float(high));
      normal &= 2 * high - 2 * kSmallest < 2 * kEnd - 2 * kSmallest;  // the sign falls out
    }
    // Zero, subnormal, too large, infinite or NaN.
    if (!normal) {
#pragma unroll
      for (int i = 0; i < N; i++) {
        const float cut = __double2float_rz(x[i]);
        const bool inexact = static_cast<double>(cut) != x[i];
        y[i] = __uint_as_float(__float_as_uint(cut) | (inexact ? 1u : 0u));
      }
    }
  }
}

// ---- vectors

// Elements of a 16-byte vector.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

__device__ __forceinline__ bool aligned(const void* p, unsigned bytes) {
  return reinterpret_cast<size_t>(p) % bytes == 0;
}

// Tells the compiler that a pointer from a table leads to global memory.
template <class T>
__device__ __forceinline__ T* global(T* p) {
#ifndef LACO_EMULATED
  __builtin_assume(__isGlobal(p));
#endif
  return p;
}

// Hides from the compiler that x does not change in a loop. It then does not compute everything that depends on x
// before the loop and keep the results in registers.
__device__ __forceinline__ uint4 opaque(uint4 x) {
  asm volatile("" : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w));
  return x;
}

// Two neighbours in one word, the first in its lower half.
template <class T>
__device__ float2 widen_two(uint32_t two);
template <>
__device__ __forceinline__ float2 widen_two<__half>(uint32_t two) {
  return make_float2(
      __half2float(__ushort_as_half(static_cast<unsigned short>(two & 0xffff))),
      __half2float(__ushort_as_half(static_cast<unsigned short>(two >> 16))));
}
template <>
__device__ __forceinline__ float2 widen_two<__nv_bfloat16>(uint32_t two) {
  return make_float2(__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u));
}

template <class T>
__device__ uint32_t narrow_two(float first, float second);
template <>
__device__ __forceinline__ uint32_t narrow_two<__half>(float first, float second) {
  const __half2 two = __floats2half2_rn(first, second);
  return __half_as_ushort(two.x) | static_cast<uint32_t>(__half_as_ushort(two.y)) << 16;
}
template <>
__device__ __forceinline__ uint32_t narrow_two<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(first, second);
  return __bfloat16_as_ushort(two.x) | static_cast<uint32_t>(__bfloat16_as_ushort(two.y)) << 16;
}

// A 16-byte vector of T as f32, and back, to nearest even.
template <class T>
__device__ __forceinline__ void unpack(uint4 raw, float (&x)[kVector<T>]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 two = widen_two<T>(words[i]);
    x[2 * i] = two.x;
    x[2 * i + 1] = two.y;
  }
}
template <>
__device__ __forceinline__ void unpack<float>(uint4 raw, float (&x)[4]) {
  x[0] = __uint_as_float(raw.x);
  x[1] = __uint_as_float(raw.y);
  x[2] = __uint_as_float(raw.z);
  x[3] = __uint_as_float(raw.w);
}

template <class T>
__device__ __forceinline__ uint4 pack(const float (&x)[kVector<T>]) {
  return make_uint4(narrow_two<T>(x[0], x[1]), narrow_two<T>(x[2], x[3]),
                    narrow_two<T>(x[4], x[5]), narrow_two<T>(x[6], x[7]));
}
template <>
__device__ __forceinline__ uint4 pack<float>(const float (&x)[4]) {
  return make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]),
                    __float_as_uint(x[3]));
}

// Four neighbours as f32, from an address that is a multiple of their size; and back.
template <class T>
__device__ __forceinline__ float4 load4(const T* p) {
  const uint2 raw = *reinterpret_cast<const uint2*>(p);
  const float2 low = widen_two<T>(raw.x), high = widen_two<T>(raw.y);
  return make_float4(low.x, low.y, high.x, high.y);
}
template <>
__device__ __forceinline__ float4 load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}

template <class T>
__device__ __forceinline__ void store4(T* p, float4 x) {
  *reinterpret_cast<uint2*>(p) = make_uint2(narrow_two<T>(x.x, x.y), narrow_two<T>(x.z, x.w));
}
template <>
__device__ __forceinline__ void store4(float* p, float4 x) {
  *reinterpret_cast<float4*>(p) = x;
}

// Whether load4 and store4 may be used at p.
template <class T>
__device__ __forceinline__ bool aligned4(const T* p) {
  return aligned(p, 4 * sizeof(T));
}

// N neighbours as f32: 4 where load4 may be used, else 1.
template <int N>
struct Floats {
  float value[N];
  __device__ __forceinline__ float& operator[](int i) { return value[i]; }
  __device__ __forceinline__ float operator[](int i) const { return value[i]; }
};

template <int N, class T>
__device__ __forceinline__ Floats<N> load(const T* p) {
  static_assert(N == 1 || N == 4, "an element or a vector");
  if constexpr (N == 4) {
    const float4 x = load4(p);
    return {{x.x, x.y, x.z, x.w}};
  } else {
    return {{widen(*p)}};
  }
}

template <int N, class T>
__device__ __forceinline__ void store(T* p, const Floats<N>& x) {
  if constexpr (N == 4) {
    store4(p, make_float4(x[0], x[1], x[2], x[3]));
  } else {
    *p = narrow<T>(x[0]);
  }
}

// Activations that a kernel writes in the type that it is told: what only products read is rounded where it is computed.
// `type` is the code of dev.laco.backend.KernelCode: 0 for f32, 1 for f16, 2 for bf16.
struct Activations {
  void* data;
  int32_t type;

  __device__ __forceinline__ Activations behind(int64_t elements) const {
    return {static_cast<char*>(data) + elements * (type == 0 ? 4 : 2), type};
  }
  __device__ __forceinline__ bool aligned4() const { return aligned(data, type == 0 ? 16 : 8); }
};

template <int N>
__device__ __forceinline__ void store(const Activations& to, int64_t i, const Floats<N>& x) {
  switch (to.type) {
    case 0:
      store(static_cast<float*>(to.data) + i, x);
      break;
    case 1:
      store(static_cast<__half*>(to.data) + i, x);
      break;
    default:
      store(static_cast<__nv_bfloat16*>(to.data) + i, x);
  }
}

template <int N>
struct Width {
  static constexpr int value = N;
};

// Calls f(Width<4>, start) where four neighbours may be taken as a vector and there are four before n, else
// f(Width<1>, i) for each of those that there are.
template <class Function>
__device__ __forceinline__ void for_four(int64_t start, int64_t n, bool vectors, Function f) {
  if (vectors && start + 4 <= n) {
    f(Width<4>(), start);
  } else {
    for (int64_t i = start; i < min(start + 4, n); i++) {
      f(Width<1>(), i);
    }
  }
}

// For elementwise kernels, of which a thread takes four neighbours.
template <class Function>
__device__ __forceinline__ void for_each_of_four(int64_t n, bool vectors, Function f) {
  for_four((static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4, n, vectors, f);
}

// The job that this block works on, of several whose first blocks ascend from 0.
template <class Job>
__device__ __forceinline__ const Job& job_of_block(const Job* jobs, int32_t count) {
  const int64_t block = blockIdx.x;
  int32_t low = 0;
  int32_t high = count;
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (jobs[middle].first_block <= block ? low : high) = middle;
  }
  return jobs[low];
}

// ---- sums, the same bits every time

// All lanes get the sum over the warp. All must take part.
template <class V>
__device__ __forceinline__ V warp_sum(V x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(~0u, x, distance);
  }
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
  }
  return x;
}

constexpr int kMostWarps = 32;

// Sums of N values over a block, which is one-dimensional and made of whole warps: leaves those of each warp
// in `scratch`, in shared memory and used for nothing else. Then sum_of_warps gives any thread the whole.
template <class V, int N>
__device__ __forceinline__ void sum_warps(const V (&x)[N], V (&scratch)[kMostWarps][N]) {
#pragma unroll
  for (int k = 0; k < N; k++) {
    const V sum = warp_sum(x[k]);
    if (threadIdx.x % kWarp == 0) {
      scratch[threadIdx.x / kWarp][k] = sum;
    }
  }
  __syncthreads();
}

template <class V, int N>
__device__ __forceinline__ V sum_of_warps(const V (&scratch)[kMostWarps][N], unsigned k) {
  V sum = scratch[0][k];
  for (unsigned warp = 1; warp < blockDim.x / kWarp; warp++) {
    sum += scratch[warp][k];
  }
  return sum;
}

// All threads get the sum of one value over the block.
template <class V>
__device__ __forceinline__ V block_sum(V x, V (&scratch)[kMostWarps][1]) {
  const V one[1] = {x};
  sum_warps(one, scratch);
  return sum_of_warps(scratch, 0);
}

}  // namespace laco
