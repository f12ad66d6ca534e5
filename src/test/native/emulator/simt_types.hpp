// CUDA's vector types, with the sizes and alignments of the device.
#pragma once

#include <cstdint>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct uint3 {
  unsigned x, y, z;
};

#define SIMT_VECTOR(name, T)                                                  \
  struct alignas(2 * sizeof(T)) name##2 {                                     \
    T x, y;                                                                   \
  };                                                                          \
  struct alignas(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) name##4 {               \
    T x, y, z, w;                                                             \
  };                                                                          \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                  \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIMT_VECTOR(char, signed char)
SIMT_VECTOR(uchar, unsigned char)
SIMT_VECTOR(short, short)
SIMT_VECTOR(ushort, unsigned short)
SIMT_VECTOR(int, int)
SIMT_VECTOR(uint, unsigned)
SIMT_VECTOR(longlong, long long)
SIMT_VECTOR(ulonglong, unsigned long long)
SIMT_VECTOR(float, float)
SIMT_VECTOR(double, double)
#undef SIMT_VECTOR
