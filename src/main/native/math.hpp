// Elementary functions of a vector. Coefficients are minimax fits in f64, made with Remez' algorithm.
#pragma once

#include "vec.hpp"

namespace LACO_NAMESPACE {

// e^x to 1.5 units in the last place; infinite and NaN arguments give the exact results. Subnormal results are
// replaced by 0: a processor takes about 150 cycles for one, and masked scores of a softmax would give many.
inline Vec exp(Vec x) {
  const Int tiny = x < -0x1.5d589ep6f;  // ln 2^-126
  x = select(tiny, Vec{}, x);
  x = select(x > 89.0f, splat(89.0f), x);
  // x = n ln 2 + r. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Vec magic = splat(0x1.8p23f);
  Vec shifted = fma(0x1.715476p0f, x, magic);
  Vec n = shifted - magic;
  Vec r = fma(-0x1.62e4p-1f, n, x);
  r = fma(-0x1.7f7d1cp-20f, n, r);
  Vec p = splat(0x1.6a2434p-10f);
  p = fma(p, r, splat(0x1.1239e2p-7f));
  p = fma(p, r, splat(0x1.5558f2p-5f));
  p = fma(p, r, splat(0x1.555492p-3f));
  p = fma(p, r, splat(0x1.fffffcp-2f));
  p = fma(p * r, r, r) + 1.0f;
#if LACO_TIER == 2
  return select(tiny, Vec{}, _mm512_scalef_ps(p, n));
#else
  // In two steps, since 2^n itself may be out of range.
  Int whole = bit_cast<Int>(shifted) - bit_cast<Int>(magic);
  Int half = whole >> 1;
  Vec first = bit_cast<Vec>((half + 127) << 23);
  Vec second = bit_cast<Vec>((whole - half + 127) << 23);
  return select(tiny, Vec{}, p * first * second);
#endif
}

inline Vec magnitude(Vec x) { return bit_cast<Vec>(bit_cast<Int>(x) & INT32_MAX); }

// The normal distribution Phi(x). 1 - Phi(|x|) = erfc(u) / 2 with u = |x| / sqrt(2) is exp(-u^2) t P(t) / 2 with
// t = 1 / (1 + u/2), the form of Abramowitz and Stegun 7.1.26, to a relative 5e-8 before exp's own error.
inline Vec normal_distribution(Vec x) {
  Vec t = 1.0f / fma(0x1.6a09e6p-2f, magnitude(x), splat(1.0f));
  Vec p = splat(-0.05875072436175259f);
  p = fma(p, t, splat(0.2830141840741012f));
  p = fma(p, t, splat(-0.48394886557250916f));
  p = fma(p, t, splat(0.27432234209630635f));
  p = fma(p, t, splat(-0.024025433920893107f));
  p = fma(p, t, splat(0.20157648191842073f));
  p = fma(p, t, splat(0.2433874602230859f));
  p = fma(p, t, splat(0.2823358094668253f));
  p = fma(p, t, splat(0.28208870441910305f));
  Vec tail = 0.5f * t * p * exp(-0.5f * x * x);
  return select(x < 0.0f, tail, 1.0f - tail);
}

// x Phi(x).
inline Vec gelu(Vec x) { return x * normal_distribution(x); }

// 1 / (1 + e^-x).
inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// x / (1 + e^-x).
inline Vec silu(Vec x) { return x / (1.0f + exp(-x)); }

// x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), which is x / (1 + e^-2u).
inline Vec gelu_tanh(Vec x) {
  Vec u = x * fma(0.044715f * x, x, splat(1.0f));
  return x / (1.0f + exp(-1.5957691216057308f * u));
}

// max(x, 0); NaN stays.
inline Vec relu(Vec x) { return select(x < 0.0f, Vec{}, x); }

// max(x, 0)^2.
inline Vec relu_squared(Vec x) { return relu(x) * relu(x); }

// tanh(x): 1 - 2 / (e^2x + 1), and near 0, where that difference would cancel, the series up to x^9.
inline Vec tanh(Vec x) {
  const Vec square = x * x;
  Vec p = splat(62.0f / 2835);
  p = fma(p, square, splat(-17.0f / 315));
  p = fma(p, square, splat(2.0f / 15));
  p = fma(p, square, splat(-1.0f / 3));
  return select(magnitude(x) < 0.25f, fma(x * square, p, x), 1.0f - 2.0f / (exp(2.0f * x) + 1.0f));
}

// soft_cap * tanh(x / soft_cap); x where soft_cap is 0.
inline Vec capped(Vec x, float soft_cap) { return soft_cap == 0 ? x : soft_cap * tanh(x / soft_cap); }

// Where the slope of SiLU or GELU is at its limit, 0 or 1, and none of its factors overflows.
inline Vec within_1000(Vec x) {
  x = select(x > 1000.0f, splat(1000.0f), x);
  return select(x < -1000.0f, splat(-1000.0f), x);
}

// The slope of x s(v(x)) with the logistic function s, s(v) (1 + w s(-v)) with w = x v'(x). From e^-|v|, so that
// neither s(v) nor s(-v) is a difference.
inline Vec logistic_slope(Vec v, Vec w) {
  Vec e = exp(-magnitude(v));
  Vec large = 1.0f / (1.0f + e);
  Vec small = e * large;
  return select(v < 0.0f, small * fma(w, large, splat(1.0f)), large * fma(w, small, splat(1.0f)));
}

// s(x) s(-x), as above.
inline Vec sigmoid_slope(Vec x) {
  Vec e = exp(-magnitude(x));
  Vec large = 1.0f / (1.0f + e);
  return e * large * large;
}

inline Vec silu_slope(Vec x) {
  x = within_1000(x);
  return logistic_slope(x, x);
}

// Phi(x) + x phi(x) with the normal density phi.
inline Vec gelu_slope(Vec x) {
  x = within_1000(x);
  return normal_distribution(x) + 0.3989422804014327f * x * exp(-0.5f * x * x);
}

// As for gelu_tanh, with v = 2u.
inline Vec gelu_tanh_slope(Vec x) {
  x = within_1000(x);
  Vec scaled = 1.5957691216057308f * x;
  Vec square = 0.044715f * x * x;
  return logistic_slope(scaled * (1.0f + square), scaled * (1.0f + 3.0f * square));
}

// 0 at 0; NaN stays.
inline Vec relu_slope(Vec x) { return select(x > 0.0f, splat(1.0f), relu(x)); }

inline Vec relu_squared_slope(Vec x) { return 2.0f * relu(x); }

}  // namespace LACO_NAMESPACE
