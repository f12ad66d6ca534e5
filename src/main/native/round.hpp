// Rounding to 16-bit floats: to nearest even, once, as DType.java defines it.
#pragma once

#include "vec.hpp"

namespace LACO_NAMESPACE {

inline Half narrow(Vec v, const Bf16*) {
  Word bits = bit_cast<Word>(v);
  Word rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Word nan = (bits >> 16) | 0x40;
  return __builtin_convertvector(v == v ? rounded : nan, Half);
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
  return __builtin_convertvector(sign | result, Half);
#endif
}

inline void store(F32* p, Vec v) { std::memcpy(p, &v, sizeof v); }

template <class T>
inline void store(T* p, Vec v) {
  Half half = narrow(v, p);
  std::memcpy(p, &half, sizeof half);
}

// The first n < W elements.
inline void store(F32* p, Vec v, int64_t n) { std::memcpy(p, &v, static_cast<size_t>(n) * 4); }

template <class T>
inline void store(T* p, Vec v, int64_t n) {
  Half half = narrow(v, p);
  std::memcpy(p, &half, static_cast<size_t>(n) * 2);
}

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

// Two halves of f64 as f32, to odd: towards zero, with the last bit set unless that was exact. Rounding
// the result to a type narrower by two bits or more gives what rounding the f64 itself would (Boldo
// and Melquiond, "When double rounding is odd", 2005).
inline Vec odd(Wide lower, Wide upper) {
#if LACO_TIER == 2
  constexpr int kToZero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
  Vec v = _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvt_roundpd_ps(lower, kToZero)),
                             _mm512_cvt_roundpd_ps(upper, kToZero), 1);
  unsigned inexact = _mm512_cmp_pd_mask(low(v), lower, _CMP_NEQ_OQ) |
                     static_cast<unsigned>(_mm512_cmp_pd_mask(high(v), upper, _CMP_NEQ_OQ)) << 8;
  __m512i bits = bit_cast<__m512i>(v);
  return bit_cast<Vec>(_mm512_mask_or_epi32(bits, static_cast<__mmask16>(inexact), bits,
                                            _mm512_set1_epi32(1)));
#else
  Vec v = nearest(lower, upper);
  // Per lane 1 or -1: what leads from the bits of an inexact f32 towards the f64. Magnitudes are
  // ordered like their bits.
  auto step = [](Wide rounded, Wide exact) {
    auto magnitude = [](Wide x) { return bit_cast<Wide>(bit_cast<WideInt>(x) & INT64_MAX); };
    WideInt inexact = (rounded < exact) | (rounded > exact);
    WideInt too_large = magnitude(rounded) > magnitude(exact);
    return __builtin_convertvector(inexact & (too_large | 1), HalfInt);
  };
  HalfInt steps[2] = {step(low(v), lower), step(high(v), upper)};
  Int bits = bit_cast<Int>(v);
  return bit_cast<Vec>(bits + (((bits & 1) - 1) & read<Int>(steps)));
#endif
}

}  // namespace LACO_NAMESPACE
