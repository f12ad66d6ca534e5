// Declarations that all kernels share: status codes, element types, exported names.
//
// Every kernel is compiled once per ISA tier (see CMakeLists.txt) with LACO_TIER set to 0 (portable),
// 1 (AVX2, FMA, F16C) or 2 (AVX-512 F, BW, DQ, VL) and exported as laco_<op>_<tier>. The caller has
// checked every bound and overlap. Sizes are int64_t, matrices are row-major and contiguous,
// activations are f32, weights are any of the three types at any byte address. Threads come from
// OpenMP; no result depends on their number.
#pragma once

#include <cstddef>
#include <cstdint>

// Inline code is compiled with each tier's instruction set: if tiers shared a name, the linker could keep the copy of
// another tier. For the same reason kernels call no inline function of the standard library.
#define LACO_JOIN_(a, b) a##b
#define LACO_JOIN(a, b) LACO_JOIN_(a, b)
#ifndef LACO_NAMESPACE
#define LACO_NAMESPACE LACO_JOIN(laco_tier_, LACO_TIER)
#endif
#define LACO_KERNEL(name) \
  extern "C" __attribute__((visibility("default"))) int32_t LACO_JOIN(laco_##name##_, LACO_TIER)

enum : int32_t { LACO_OK = 0, LACO_BAD_DTYPE = 1, LACO_BAD_ACTIVATION = 2 };

namespace LACO_NAMESPACE {

// Alignment 1: weights begin at any byte, behind the header of their file.
struct __attribute__((packed)) F32 {
  float value;
};
struct __attribute__((packed)) F16 {
  uint16_t bits;
};
struct __attribute__((packed)) Bf16 {
  uint16_t bits;
};

// Calls f with data as a pointer to the element type that the code names: CpuKernels.java has the same numbers.
template <class Function>
inline int32_t with_dtype(int32_t dtype, const void* data, Function f) {
  switch (dtype) {
    case 0:
      f(static_cast<const F32*>(data));
      return LACO_OK;
    case 1:
      f(static_cast<const F16*>(data));
      return LACO_OK;
    case 2:
      f(static_cast<const Bf16*>(data));
      return LACO_OK;
    default:
      return LACO_BAD_DTYPE;
  }
}

template <class T>
inline T* writable(const T* p) {
  return const_cast<T*>(p);
}

// Calls f with data and out as pointers to their element types.
template <class Function>
inline int32_t with_dtypes(int32_t dtype, const void* data, int32_t out_dtype, void* out, Function f) {
  int32_t status = LACO_OK;
  const int32_t other = with_dtype(out_dtype, out, [&](auto* to) {
    status = with_dtype(dtype, data, [&](auto* from) { f(from, writable(to)); });
  });
  return other == LACO_OK ? status : other;
}

template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}

// The least numbers of elements for which several threads are used. Waking threads takes about 50 us on a virtual
// machine, longer than they save for fewer elements. The first number is for elements that take many instructions,
// the second for those that take a few.
inline constexpr int64_t kParallel = 1 << 15;
inline constexpr int64_t kParallelLight = 1 << 16;

}  // namespace LACO_NAMESPACE
