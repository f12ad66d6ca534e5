// What attention by tiles and its gradients share: products of tiles of bf16 numbers, with f32 sums (Intel AMX: Intel 64
// and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18), and how their factors are laid out.
//
// The right factor of a product of tiles has its rows in pairs: element (k, n) is number 2 n + k % 2 of row k / 2.
// Files that include this one have a namespace of their own, since they are compiled for more instructions than their
// tier.
#pragma once

#define LACO_NAMESPACE laco_tiles
#include "attention.hpp"

namespace LACO_NAMESPACE {

inline constexpr int64_t kSide = 16;                    // rows of a tile, and floats of one
inline constexpr int64_t kDeep = 2 * kSide;             // numbers in bf16 of a row of a tile
inline constexpr int64_t kPair = 2 * kSide;             // rows, or columns, of two tiles
inline constexpr int64_t kTileNumbers = kSide * kDeep;  // numbers in bf16 of a tile

// Elements of a head, with zeros up to two tiles of floats, which are one of bf16.
inline constexpr int64_t whole(int64_t width) { return (width + kPair - 1) / kPair * kPair; }

// e^x for x <= 0 to 2^-13 of it, before it is rounded to bf16: 2^n p(f) for x log2(e) = n + f, where p is the minimax
// polynomial of 2^f for f in [-1/2, 1/2]. NaN stays NaN; what is below 2^-126 becomes 0.
inline Vec rough_exp(Vec x) {
  const Vec power = x * 0x1.715476p0f;
  const Vec n = _mm512_roundscale_ps(power, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vec f = power - n;
  Vec p = splat(0x1.c3f760p-5f);
  p = fma(p, f, splat(0x1.f0de1ap-3f));
  p = fma(p, f, splat(0x1.62f31ap-1f));
  p = fma(p, f, splat(0x1.fff692p-1f));
  return select(x < -87.0f, Vec{}, _mm512_scalef_ps(p, n));
}

// Two vectors in bf16, the first one in front.
inline __m512i rounded(Vec first, Vec second) { return bit_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)); }

inline Vec load_some(const float* p, int64_t n) { return n >= W ? load(p) : n > 0 ? load(p, n) : Vec{}; }

// Rounds a row to bf16, with zeros up to a whole width.
inline void round_row(const float* from, int64_t width, uint16_t* to) {
  for (int64_t c = 0; c < width; c += kDeep) {
    const Vec first = load_some(from + c, width - c), second = load_some(from + c + W, width - c - W);
    _mm512_storeu_si512(to + c, rounded(first, second));
  }
}

// Lays out rows [count, width], `stride` apart, so that they are the columns of a right factor: tiles
// [rows / kSide, whole width / kDeep]. Tiles behind the last row, up to a whole pair of tiles, get zeros.
inline void lay_out_columns(const float* rows, int64_t count, int64_t width, int64_t stride, uint16_t* tiles) {
  const int64_t steps = whole(width) / kDeep;
  alignas(64) float square[kSide * kSide];
  for (int64_t j = 0; j < (count + kPair - 1) / kPair * kPair; j += kSide) {
    for (int64_t step = 0; step < steps; step++) {
      // A pair of numbers in bf16 moves as a float does.
      for (int64_t k = 0; k < kSide; k++) {
        const int64_t c = step * kDeep;
        const float* row = rows + (j + k) * stride + c;
        const bool given = j + k < count;
        const Vec first = given ? load_some(row, width - c) : Vec{};
        const Vec second = given ? load_some(row + W, width - c - W) : Vec{};
        _mm512_storeu_si512(square + k * kSide, rounded(first, second));
      }
      uint16_t* tile = tiles + (j / kSide * steps + step) * kTileNumbers;
      transpose_square(square, kSide, reinterpret_cast<float*>(tile), kSide);
    }
  }
}

// Two rows of a right factor: two vectors in bf16, number by number.
inline __m512i paired(Vec first, Vec second) {
  alignas(64) static constexpr uint16_t kOrder[kDeep] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), rounded(first, second));
}

// Lays out rows [count, width], `stride` apart, so that they are the rows of a right factor: tiles
// [whole width / kSide, depth]. Tiles behind the last row, up to a whole one, get zeros. Returns false if a number is not
// finite in bf16.
inline bool lay_out_rows(const float* rows, int64_t count, int64_t width, int64_t stride, int64_t depth,
                         uint16_t* tiles) {
  Int largest_bits = {};
  for (int64_t j = 0; j < (count + kDeep - 1) / kDeep * kDeep; j += 2) {
    for (int64_t c = 0; c < whole(width); c += kSide) {
      const float* row = rows + j * stride + c;
      const Vec first = j < count ? load_some(row, width - c) : Vec{};
      const Vec second = j + 1 < count ? load_some(row + stride, width - c) : Vec{};
      const Int bits = bit_cast<Int>(magnitude(first)), others = bit_cast<Int>(magnitude(second));
      largest_bits = bits > largest_bits ? bits : largest_bits;
      largest_bits = others > largest_bits ? others : largest_bits;
      uint16_t* tile = tiles + (c / kSide * depth + j / kDeep) * kTileNumbers;
      _mm512_storeu_si512(tile + j % kDeep / 2 * kDeep, paired(first, second));
    }
  }
  constexpr int32_t kInfinite = 0x7f7f8000;  // rounds to infinity
  for (int64_t i = 0; i < W; i++) {
    if (largest_bits[i] >= kInfinite) {
      return false;
    }
  }
  return true;
}

// GCC 12's _tile_loadd does not say that it reads memory: the compiler may move stores of the factors and sums behind it,
// but not behind this.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// Tiles 0 to 3 hold sums of kPair rows and columns. Adds the products of kDeep numbers of kPair rows of a left factor,
// `stride` numbers apart, and of two tiles of a right factor, `apart` tiles apart.
inline void add_products(const uint16_t* left, int64_t stride, const uint16_t* right, int64_t apart) {
  const size_t bytes = static_cast<size_t>(stride) * 2;
  _tile_loadd(4, left, bytes);
  _tile_loadd(5, left + kSide * stride, bytes);
  _tile_loadd(6, right, 64);
  _tile_loadd(7, right + apart * kTileNumbers, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Stores these sums, whose rows are `stride` floats apart.
inline void store_sums(float* sums, int64_t stride) {
  const size_t bytes = static_cast<size_t>(stride) * sizeof(float);
  _tile_stored(0, sums, bytes);
  _tile_stored(1, sums + kSide, bytes);
  _tile_stored(2, sums + kSide * stride, bytes);
  _tile_stored(3, sums + kSide * stride + kSide, bytes);
}

// out[r][j] = left[r] . column j for kPair rows of the left factor, which are a whole width apart, and the columns of
// range, whose ends are multiples of kPair. Rows of out are out_stride floats apart.
inline void dot(const uint16_t* left, const uint16_t* columns, Range range, int64_t width, float* out,
                int64_t out_stride) {
  const int64_t steps = whole(width) / kDeep;
  finish_stores();
  for (int64_t j = range.from; j < range.to; j += kPair) {
    const uint16_t* tiles = columns + j / kSide * steps * kTileNumbers;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; step++) {
      add_products(left + step * kDeep, whole(width), tiles + step * kTileNumbers, steps);
    }
    store_sums(out + j, out_stride);
  }
}

// sums[r] += sum over the numbers j of range of left[r][j] * row j, for kPair rows of the left factor, left_stride numbers
// apart. The ends of range are multiples of kDeep. `rows` are tiles [columns / kSide, depth]; sums have `columns` floats,
// a multiple of kPair, and are sums_stride floats apart.
inline void weigh(const uint16_t* left, int64_t left_stride, const uint16_t* rows, int64_t depth, Range range,
                  int64_t columns, float* sums, int64_t sums_stride) {
  const size_t row_bytes = static_cast<size_t>(sums_stride) * sizeof(float);
  float* below = sums + kSide * sums_stride;
  finish_stores();
  for (int64_t c = 0; c < columns; c += kPair) {
    _tile_loadd(0, sums + c, row_bytes);
    _tile_loadd(1, sums + c + kSide, row_bytes);
    _tile_loadd(2, below + c, row_bytes);
    _tile_loadd(3, below + c + kSide, row_bytes);
    const uint16_t* tiles = rows + c / kSide * depth * kTileNumbers;
    for (int64_t j = range.from; j < range.to; j += kDeep) {
      add_products(left + j, left_stride, tiles + j / kDeep * kTileNumbers, depth);
    }
    store_sums(sums + c, sums_stride);
  }
}

// All eight tiles with kSide rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide};
};

// Not on the stack: GCC 12 takes only the first eight bytes for read, and would not write the others.
inline constexpr TileConfig kTileConfig;

inline void use_tiles() { _tile_loadconfig(&kTileConfig); }

}  // namespace LACO_NAMESPACE
