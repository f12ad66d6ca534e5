// Rounding to 16-bit floats: to nearest even, once, as DType.java defines it.
#pragma once

#include "vec.hpp"

namespace LACO_NAMESPACE {

// Packs the low halves of words; all words must be below 2^16.
inline Half pack(Word words) {
#if LACO_TIER == 2
  return bit_cast<Half>(_mm512_cvtepi32_epi16(bit_cast<__m512i>(words)));
#elif LACO_TIER == 1
  __m256i packed = _mm256_packus_epi32(bit_cast<__m256i>(words), bit_cast<__m256i>(words));
  return bit_cast<Half>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
#else
  return __builtin_convertvector(words, Half);
#endif
}

// Rounds the bits of f32 numbers, which must not be NaN, to bf16.
inline Word round_number(Word bits) { return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16; }

inline Half narrow_number(Vec v, const Bf16*) { return pack(round_number(bit_cast<Word>(v))); }

inline Half narrow(Vec v, const Bf16*) {
  Word bits = bit_cast<Word>(v);
  Word nan = (bits >> 16) | 0x40;
  return pack(v == v ? round_number(bits) : nan);
}

inline Half narrow(Vec v, const F16*) {
#if LACO_TIER == 2
  return bit_cast<Half>(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif LACO_TIER == 1
  return bit_cast<Half>(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  Word bits = bit_cast<Word>(v);
  Word sign = (bits >> 16) & 0x8000;
  Word magnitude = bits & 0x7fffffff;
  // Adding 0.5, whose last place is f16's smallest subnormal number, lets the adder round.
  Word subnormal = bit_cast<Word>(bit_cast<Vec>(magnitude) + 0.5f) - 0x3f000000;
  Word normal = (magnitude + 0xc8000fff + ((magnitude >> 13) & 1)) >> 13;
  Word nan = 0x7e00 | ((magnitude >> 13) & 0x3ff);
  Word finite = magnitude < 0x38800000 ? subnormal : normal;
  Word result = magnitude < 0x477ff000 ? finite : (magnitude > 0x7f800000 ? nan : Word{} + 0x7c00);
  return pack(sign | result);
#endif
}

inline Half narrow_number(Vec v, const F16* type) { return narrow(v, type); }

template <class T>
inline void store(T* p, Half half) {
  std::memcpy(p, &half, sizeof half);
}

inline void store(F32* p, Vec v) { std::memcpy(p, &v, sizeof v); }

template <class T>
inline void store(T* p, Vec v) {
  store(p, narrow(v, p));
}

// The first n < W elements.
inline void store(F32* p, Vec v, int64_t n) { std::memcpy(p, &v, static_cast<size_t>(n) * 4); }

template <class T>
inline void store(T* p, Vec v, int64_t n) {
  Half half = narrow(v, p);
  std::memcpy(p, &half, static_cast<size_t>(n) * 2);
}

// Stores without the caches. The address must be a multiple of the stored size; finish_streaming() must follow.
#if LACO_TIER > 0
inline constexpr bool kCanStream = true;

template <class To>
inline To* at(const void* aligned) {
  return reinterpret_cast<To*>(reinterpret_cast<uintptr_t>(aligned));
}

inline void stream(F32* p, Vec v) {
#if LACO_TIER == 2
  _mm512_stream_ps(at<float>(p), v);
#else
  _mm256_stream_ps(at<float>(p), v);
#endif
}

template <class T>
inline void stream(T* p, Half half) {
#if LACO_TIER == 2
  _mm256_stream_si256(at<__m256i>(p), bit_cast<__m256i>(half));
#else
  _mm_stream_si128(at<__m128i>(p), bit_cast<__m128i>(half));
#endif
}

inline void finish_streaming() { _mm_sfence(); }
#else
inline constexpr bool kCanStream = false;

template <class T, class V>
inline void stream(T* p, V v) {
  store(p, v);
}

inline void finish_streaming() {}
#endif

// Two halves of f64 as f32, to nearest even.
inline Vec nearest(Wide lower, Wide upper) {
#if LACO_TIER == 2
  return _mm512_insertf32x8(
      _mm512_castps256_ps512(_mm512_cvtpd_ps(lower)), _mm512_cvtpd_ps(upper), 1);
#elif LACO_TIER == 1
  return _mm256_set_m128(_mm256_cvtpd_ps(upper), _mm256_cvtpd_ps(lower));
#else
  Narrow halves[2] = {__builtin_convertvector(lower, Narrow), __builtin_convertvector(upper, Narrow)};
  return read<Vec>(halves);
#endif
}

inline Wide magnitude(Wide x) { return bit_cast<Wide>(bit_cast<WideInt>(x) & INT64_MAX); }

// The f32 nearest to each f64, moved to its odd neighbour where that is inexact and its last bit even.
inline Vec odd_of_any(Wide lower, Wide upper) {
  Vec v = nearest(lower, upper);
  // 1 or -1 for each lane: the step from the bits of an inexact f32 to those of its neighbour towards the f64.
  // Magnitudes are ordered like their bits.
  auto step = [](Wide rounded, Wide exact) {
    WideInt inexact = (rounded < exact) | (rounded > exact);
    WideInt too_large = magnitude(rounded) > magnitude(exact);
    return __builtin_convertvector(inexact & (too_large | 1), HalfInt);
  };
  HalfInt steps[2] = {step(low(v), lower), step(high(v), upper)};
  Int bits = bit_cast<Int>(v);
  return bit_cast<Vec>(bits + (((bits & 1) - 1) & read<Int>(steps)));
}

// Rounds x to odd: the bits that an f32 does not have are cleared, and the last remaining bit is set if one of them
// was set. The result is an f64 that converts to f32 exactly.
inline Wide cut(Wide x) {
  constexpr int64_t kLost = (int64_t{1} << 29) - 1;
  WideInt bits = bit_cast<WideInt>(x);
#if LACO_TIER == 2
  __m512i all = bit_cast<__m512i>(bits);
  __m512i kept = _mm512_andnot_si512(_mm512_set1_epi64(kLost), all);
  __mmask8 inexact = _mm512_test_epi64_mask(all, _mm512_set1_epi64(kLost));
  return bit_cast<Wide>(_mm512_mask_or_epi64(kept, inexact, kept, _mm512_set1_epi64(kLost + 1)));
#else
  WideInt exact = (bits & kLost) == 0;
  return bit_cast<Wide>((bits & ~kLost) | (~exact & (kLost + 1)));
#endif
}

// True if an element is NaN or subnormal.
inline bool has_special(Vec v) {
#if LACO_TIER == 2
  constexpr int kNaNOrSubnormal = 0x80 | 0x01 | 0x20;
  return _mm512_fpclass_ps_mask(v, kNaNOrSubnormal) != 0;
#else
  Vec magnitude = bit_cast<Vec>(bit_cast<Int>(v) & INT32_MAX);
  Int special = ~(magnitude >= 0x1p-126f) & (v != 0.0f);
#if LACO_TIER == 1
  return _mm256_movemask_ps(bit_cast<__m256>(special)) != 0;
#else
  int32_t all = 0;
  for (int i = 0; i < W; i++) {
    all |= special[i];
  }
  return all != 0;
#endif
#endif
}

// Two halves of f64 as f32, to nearest even.
inline Vec round(Wide lower, Wide upper, const F32*) { return nearest(lower, upper); }

// Two halves of f64 as a 16-bit type, to nearest even, by way of f32 rounded to odd: towards zero, with
// the last bit set unless that was exact. Rounding that to a type narrower by two bits or more gives
// what rounding the f64 itself would (Boldo and Melquiond, "When double rounding is odd", 2005).
template <class T>
inline Half round(Wide lower, Wide upper, const T* type) {
  Vec v = nearest(cut(lower), cut(upper));
  // Subnormal f32 have fewer bits than the results of cut(). Values that overflow to infinity or underflow to zero
  // in f32 do so in T, too.
  if (__builtin_expect(has_special(v), false)) {
    return narrow(odd_of_any(lower, upper), type);
  }
  return narrow_number(v, type);
}

}  // namespace LACO_NAMESPACE
