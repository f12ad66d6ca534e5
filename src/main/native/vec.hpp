// A vector of W floats and the operations of kernels on vectors, for each tier.
#pragma once

#include <cstring>

#include "laco.hpp"

#if LACO_TIER > 0
#include <immintrin.h>
#endif

namespace LACO_NAMESPACE {

#if LACO_TIER == 2
inline constexpr int64_t W = 16;
#elif LACO_TIER == 1
inline constexpr int64_t W = 8;
#else
inline constexpr int64_t W = 4;
#endif

// The compiler's own vectors: operators work on them elementwise, in every tier.
typedef float Vec __attribute__((vector_size(W * 4)));
typedef int32_t Int __attribute__((vector_size(W * 4)));
typedef uint32_t Word __attribute__((vector_size(W * 4)));
typedef uint16_t Half __attribute__((vector_size(W * 2)));
typedef double Wide __attribute__((vector_size(W * 4)));  // W / 2 of them
typedef int64_t WideInt __attribute__((vector_size(W * 4)));
typedef int32_t HalfInt __attribute__((vector_size(W * 2)));
typedef float Narrow __attribute__((vector_size(W * 2)));  // W / 2 of them

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class To>
inline To read(const void* p) {
  To to;
  std::memcpy(&to, p, sizeof to);
  return to;
}

inline Vec splat(float x) { return x - Vec{}; }

// c + a * b; fused where the tier has that instruction.
inline Vec fma(Vec a, Vec b, Vec c) {
#if LACO_TIER == 2
  return _mm512_fmadd_ps(a, b, c);
#elif LACO_TIER == 1
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

inline Vec fma(float a, Vec b, Vec c) { return fma(splat(a), b, c); }

inline Vec widen(Half half, const Bf16*) {
#if LACO_TIER == 2
  return bit_cast<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bit_cast<__m256i>(half)), 16));
#elif LACO_TIER == 1
  return bit_cast<Vec>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bit_cast<__m128i>(half)), 16));
#else
  return bit_cast<Vec>(__builtin_convertvector(half, Word) << 16);
#endif
}

inline Vec widen(Half half, const F16*) {
#if LACO_TIER == 2
  return _mm512_cvtph_ps(bit_cast<__m256i>(half));
#elif LACO_TIER == 1
  return _mm256_cvtph_ps(bit_cast<__m128i>(half));
#else
  Word bits = __builtin_convertvector(half, Word);
  Word magnitude = bits & 0x7fff;
  // Bits of f16 shifted into the places of f32 are a number that is too small by 2^112, the difference of the exponent
  // biases. The product with 2^112 is exact and turns subnormal numbers into normal ones.
  Word shifted = magnitude << 13;
  Word finite = bit_cast<Word>(bit_cast<Vec>(shifted) * 0x1p112f);
  Word infinite = shifted | 0x7f800000;
  Word is_infinite = bit_cast<Word>(magnitude > 0x7bff);
  return bit_cast<Vec>((is_infinite & infinite) | (~is_infinite & finite) |
                       ((bits & 0x8000) << 16));
#endif
}

inline Vec load(const float* p) { return read<Vec>(p); }
inline Vec load(const F32* p) { return read<Vec>(p); }
inline Vec load(const F16* p) { return widen(read<Half>(p), p); }
inline Vec load(const Bf16* p) { return widen(read<Half>(p), p); }

inline Vec load_floats(const void* p, int64_t n) {
#if LACO_TIER == 2
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  Vec v = {};
  std::memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
#endif
}

// Loads the first n < W elements; the others are zeros. Reads no byte behind them.
inline Vec load(const float* p, int64_t n) { return load_floats(p, n); }
inline Vec load(const F32* p, int64_t n) { return load_floats(p, n); }

template <class T>
inline Vec load(const T* p, int64_t n) {
  Half half = {};
#if LACO_TIER == 2
  half = bit_cast<Half>(_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p));
#else
  std::memcpy(&half, p, static_cast<size_t>(n) * sizeof *p);
#endif
  return widen(half, p);
}

inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

// Stores the first n < W elements, and no others.
inline void store(float* p, Vec v, int64_t n) {
#if LACO_TIER == 2
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#else
  std::memcpy(p, &v, static_cast<size_t>(n) * sizeof *p);
#endif
}

inline Vec sqrt(Vec v) {
#if LACO_TIER == 2
  return _mm512_sqrt_ps(v);
#elif LACO_TIER == 1
  return _mm256_sqrt_ps(v);
#else
  for (int i = 0; i < W; i++) {
    v[i] = __builtin_sqrtf(v[i]);
  }
  return v;
#endif
}

// Calls f(i) for each whole vector of n elements and f(i, count) for the remaining elements.
template <class Function>
inline void each_vector(int64_t n, Function f) {
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    f(i);
  }
  if (i < n) {
    f(i, n - i);
  }
}

// Prefetches memory that will be read soon: hardware prefetching stops at the end of each page.
inline void prefetch(const void* p) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + 1024));
}

// a where the mask is set, else b.
inline Vec select(Int mask, Vec a, Vec b) { return mask ? a : b; }

// The larger of a and b. NaN in b is ignored, NaN in a stays.
inline Vec max(Vec a, Vec b) { return b > a ? b : a; }

inline Wide low(Vec v) {
#if LACO_TIER == 2
  return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
#elif LACO_TIER == 1
  return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
#else
  return __builtin_convertvector(read<Narrow>(&v), Wide);
#endif
}

inline Wide high(Vec v) {
#if LACO_TIER == 2
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
#elif LACO_TIER == 1
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
#else
  return __builtin_convertvector(read<Narrow>(reinterpret_cast<const char*>(&v) + sizeof v / 2), Wide);
#endif
}

inline double sum(Wide v) {
  double total = 0;
  for (int i = 0; i < W / 2; i++) {
    total += v[i];
  }
  return total;
}

// Sum of the elements in f64, always in the same order.
inline double sum(Vec v) { return sum(low(v) + high(v)); }

// Like sum(), in f32 and quicker.
inline float quick_sum(Vec v) {
#if LACO_TIER == 2
  return _mm512_reduce_add_ps(v);
#else
  float total = 0;
  for (int i = 0; i < W; i++) {
    total += v[i];
  }
  return total;
#endif
}

inline float largest(Vec v) {
#if LACO_TIER == 2
  return _mm512_reduce_max_ps(v);
#else
  float most = v[0];
  for (int i = 1; i < W; i++) {
    most = max(most, v[i]);
  }
  return most;
#endif
}

}  // namespace LACO_NAMESPACE
