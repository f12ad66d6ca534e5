// A small stand-in for CUDA's header of the same name: f16 with the device's rounding and NaN.
#pragma once

#include "narrow.hpp"

struct __half {
  uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }

inline float __half2float(__half value) { return simt::widen_f16(value.bits); }
inline __half __double2half(double value) { return {simt::narrow_f16(value)}; }
inline __half __float2half_rn(float value) { return {simt::narrow_f16(value)}; }
inline __half __float2half(float value) { return __float2half_rn(value); }

inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __float22half2_rn(float2 value) { return __floats2half2_rn(value.x, value.y); }
inline float2 __half22float2(__half2 value) { return {__half2float(value.x), __half2float(value.y)}; }
inline float __low2float(__half2 value) { return __half2float(value.x); }
inline float __high2float(__half2 value) { return __half2float(value.y); }
