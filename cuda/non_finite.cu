// Whether a tensor holds NaN or an infinity. A block takes 16 KB.
//
//   laco_non_finite_<T>_v1    the bytes of T per element, some two operations in integers; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;
constexpr int64_t kBlockBytes = 16384;

// All bits of the exponent are set exactly in NaN and infinity (IEEE 754). Adding the exponent's lowest bit to an
// exponent then carries into the place of the sign, and otherwise never does.
template <class T>
constexpr uint32_t kExponent = 0x7f800000;
template <>
constexpr uint32_t kExponent<__half> = 0x7c007c00;
template <>
constexpr uint32_t kExponent<__nv_bfloat16> = 0x7f807f80;

// In a word of one or two elements; the other bits are of no meaning.
template <class T>
__device__ __forceinline__ uint32_t carried(uint32_t word) {
  constexpr uint32_t kSign = sizeof(T) == 4 ? 0x80000000 : 0x80008000;
  return (word & kExponent<T>) + (kSign - kExponent<T>);
}

__device__ __forceinline__ uint32_t bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ uint32_t bits(__half x) { return __half_as_ushort(x); }
__device__ __forceinline__ uint32_t bits(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

template <class T>
__device__ __forceinline__ void look(const T* __restrict__ x, int64_t n, int32_t* found) {
  constexpr uint32_t kSign = sizeof(T) == 4 ? 0x80000000 : 0x80008000;
  constexpr int64_t kBlock = kBlockBytes / static_cast<int64_t>(sizeof(T));
  const int64_t begin = blockIdx.x * kBlock, end = min(begin + kBlock, n);
  uint32_t all = 0;
  int64_t rest = begin;
  if (aligned(x, 16)) {
    rest += (end - begin) / kVector<T> * kVector<T>;
#pragma unroll kUnroll
    for (int64_t i = begin + threadIdx.x * kVector<T>; i < rest; i += kThreads * kVector<T>) {
      const uint4 raw = *reinterpret_cast<const uint4*>(x + i);
      all |= carried<T>(raw.x) | carried<T>(raw.y) | carried<T>(raw.z) | carried<T>(raw.w);
    }
  }
  for (int64_t i = rest + threadIdx.x; i < end; i += kThreads) {
    all |= carried<T>(bits(x[i]));
  }
  if (all & kSign) {
    // Whoever writes here writes the same.
    *found = 1;
  }
}

}  // namespace

// x [n]; found becomes 1 where an element is not finite, and is left as it is where all are. grid = ceil(n / 16 KB).
#define LACO_NON_FINITE(name, T)                                                                              \
  extern "C" __global__ void __launch_bounds__(kThreads) name(const T* x, int64_t n, int32_t* found) {        \
    look(x, n, found);                                                                                        \
  }                                                                                                           \
  LACO_EXPORT(name)

LACO_NON_FINITE(laco_non_finite_f32_v1, float)
LACO_NON_FINITE(laco_non_finite_f16_v1, __half)
LACO_NON_FINITE(laco_non_finite_bf16_v1, __nv_bfloat16)
