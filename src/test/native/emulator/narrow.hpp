// f16 and bf16 as bits: one rounding, to nearest even, from f64 (f32 widens to it exactly).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace simt {

// Rounds a value to kMantissa bits behind the leading one, and to multiples of the smallest subnormal number.
template <int kMantissa, int kMinExponent>
double rounded(double value) {
  const int exponent = static_cast<int>(std::bit_cast<uint64_t>(value) >> 52 & 0x7ff) - 1023;
  // At 1.5 * 2^52 units, one unit is the last bit of an f64: adding this number rounds to nearest even.
  const int unit = (exponent < kMinExponent ? kMinExponent : exponent) - kMantissa;
  const double magic = std::bit_cast<double>(static_cast<uint64_t>(unit + 52 + 1023) << 52) * 1.5;
  return (value + magic) - magic;
}

inline uint16_t narrow_f16(double value) {
  if (std::isnan(value)) {
    return 0x7fff;
  }
  const unsigned sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520.0) {
    return static_cast<uint16_t>(sign | 0x7c00);
  }
  const double near = rounded<10, -14>(magnitude);
  if (near < 0x1p-14) {
    return static_cast<uint16_t>(sign | static_cast<unsigned>(near * 0x1p24));
  }
  const uint64_t bits = std::bit_cast<uint64_t>(near);
  return static_cast<uint16_t>(sign | static_cast<unsigned>((bits >> 42) - (uint64_t{1023 - 15} << 10)));
}

inline float widen_f16(uint16_t bits) {
  const unsigned exponent = bits >> 10 & 31;
  const unsigned mantissa = bits & 0x3ff;
  const unsigned sign = static_cast<unsigned>(bits & 0x8000) << 16;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const unsigned wide = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

inline uint16_t narrow_bf16(float value) {
  if (std::isnan(value)) {
    return 0x7fff;
  }
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline uint16_t narrow_bf16(double value) {
  if (std::isnan(value)) {
    return 0x7fff;
  }
  if (std::fabs(value) >= 0x1.ffp127) {
    return std::signbit(value) ? 0xff80 : 0x7f80;
  }
  // Exact in f32 after the rounding, so that nothing is rounded twice.
  const double near = std::copysign(rounded<7, -126>(std::fabs(value)), value);
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(near)) >> 16);
}

inline float widen_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace simt
