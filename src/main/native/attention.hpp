// What attention and its gradient share: products of small blocks of rows and keys.
#pragma once

#include "math.hpp"

namespace LACO_NAMESPACE {

inline constexpr int64_t kRows = 64;
inline constexpr int64_t kKeys = 64;
inline constexpr int kTile = 4;  // rows whose sums are held in registers at once
#if LACO_TIER == 2
inline constexpr int kVectors = 4;
#else
inline constexpr int kVectors = 2;
#endif
static_assert(kKeys % (kVectors * W) == 0 && kRows % kTile == 0);

inline constexpr int64_t padded(int64_t width) { return (width + W - 1) / W * W; }

// The rows or keys [from, to) of a block.
struct Range {
  int64_t from, to;
};

inline void copy_row(const float* from, int64_t width, float* to) {
  each_vector(width, [&](int64_t i, auto... n) { store(to + i, load(from + i, n...), n...); });
}

// Transposes W rows of W floats, `stride` apart, into rows of `out` that are kKeys apart.
inline void transpose_square(const float* in, int64_t stride, float* out) {
  Vec rows[W], next[W];
  for (int i = 0; i < W; i++) {
    rows[i] = load(in + i * stride);
  }
  // Interleaving row i with row i + W/2, repeated log2(W) times, is a transposition.
  for (int64_t step = 1; step < W; step *= 2) {
    for (int i = 0; i < W / 2; i++) {
      Vec a = rows[i], b = rows[i + W / 2];
#if LACO_TIER == 2
      next[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] =
          __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif LACO_TIER == 1
      next[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
      next[2 * i] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
      next[2 * i + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
    }
    for (int i = 0; i < W; i++) {
      rows[i] = next[i];
    }
  }
  for (int i = 0; i < W; i++) {
    store(out + i * kKeys, rows[i]);
  }
}

// Transposes keys [count <= kKeys, width], whose rows are `stride` apart, into out [width, kKeys]. Keys
// are padded with zeros to a multiple of W.
inline void transpose(const float* keys, int64_t count, int64_t width, int64_t stride, float* out) {
  const int64_t whole_keys = count / W * W;
  const int64_t whole_width = width / W * W;
  for (int64_t j = 0; j < whole_keys; j += W) {
    for (int64_t c = 0; c < whole_width; c += W) {
      transpose_square(keys + j * stride + c, stride, out + c * kKeys + j);
    }
    for (int64_t c = whole_width; c < width; c++) {
      for (int64_t k = j; k < j + W; k++) {
        out[c * kKeys + k] = keys[k * stride + c];
      }
    }
  }
  for (int64_t c = 0; c < width && whole_keys < count; c++) {
    for (int64_t j = whole_keys; j < whole_keys + W; j++) {
      out[c * kKeys + j] = j < count ? keys[j * stride + c] : 0;
    }
  }
}

// scores[r][j] = queries[r] . keys[j] for kTile rows and `vectors` vectors of keys.
template <int vectors>
inline void score_keys(const float* queries, const float* keys, int64_t width, float* scores) {
  const int64_t stride = padded(width);
  Vec sums[kTile][vectors] = {};
  for (int64_t c = 0; c < width; c++) {
    Vec key[vectors];
    for (int k = 0; k < vectors; k++) {
      key[k] = load(keys + c * kKeys + k * W);
    }
    for (int r = 0; r < kTile; r++) {
      Vec query = splat(queries[r * stride + c]);
      for (int k = 0; k < vectors; k++) {
        sums[r][k] = fma(query, key[k], sums[r][k]);
      }
    }
  }
  for (int r = 0; r < kTile; r++) {
    for (int k = 0; k < vectors; k++) {
      store(scores + r * kKeys + k * W, sums[r][k]);
    }
  }
}

// As score_keys, for `count` keys, a multiple of W.
inline void score(const float* queries, const float* keys, int64_t count, int64_t width, float* scores) {
  int64_t j = 0;
  for (; j + kVectors * W <= count; j += kVectors * W) {
    score_keys<kVectors>(queries, keys + j, width, scores + j);
  }
  for (; j + 2 * W <= count; j += 2 * W) {
    score_keys<2>(queries, keys + j, width, scores + j);
  }
  for (; j < count; j += W) {
    score_keys<1>(queries, keys + j, width, scores + j);
  }
}

// sums[r] += sum over the steps j of range of weight(r, j) * values[j], for `vectors` vectors of `rows` rows of sums and
// values, all of them `stride` apart. weights [kRows, kKeys] begin at the first of these rows; columns are rows and rows
// are steps where they are transposed.
template <int rows, int vectors, bool transposed>
inline void weigh_columns(const float* weights, const float* values, int64_t stride, Range range,
                          float* sums) {
  Vec total[rows][vectors];
  for (int r = 0; r < rows; r++) {
    for (int k = 0; k < vectors; k++) {
      total[r][k] = load(sums + r * stride + k * W);
    }
  }
  for (int64_t j = range.from; j < range.to; j++) {
    Vec value[vectors];
    for (int k = 0; k < vectors; k++) {
      value[k] = load(values + j * stride + k * W);
    }
    for (int r = 0; r < rows; r++) {
      Vec weight = splat(transposed ? weights[j * kKeys + r] : weights[r * kKeys + j]);
      for (int k = 0; k < vectors; k++) {
        total[r][k] = fma(weight, value[k], total[r][k]);
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int k = 0; k < vectors; k++) {
      store(sums + r * stride + k * W, total[r][k]);
    }
  }
}

template <int rows, bool transposed = false>
inline void weigh(const float* weights, const float* values, int64_t width, Range range, float* sums) {
  if (range.from >= range.to) {
    return;
  }
  const int64_t stride = padded(width);
  int64_t c = 0;
  for (; c + kVectors * W <= stride; c += kVectors * W) {
    weigh_columns<rows, kVectors, transposed>(weights, values + c, stride, range, sums + c);
  }
  for (; c + 2 * W <= stride; c += 2 * W) {
    weigh_columns<rows, 2, transposed>(weights, values + c, stride, range, sums + c);
  }
  for (; c < stride; c += W) {
    weigh_columns<rows, 1, transposed>(weights, values + c, stride, range, sums + c);
  }
}

// The numbers of the vector's elements, counted from `first`.
inline Int lanes(int64_t first) {
  Int lane;
  for (int i = 0; i < W; i++) {
    lane[i] = i;
  }
  return lane + static_cast<int32_t>(first);
}

struct Heads {
  int64_t queries, keys, width, window;
  float scale, soft_cap;
  const float* slopes;  // of the heads that share the key-value head; null without ALiBi
  const float* sinks;   // likewise; null for none
};

}  // namespace LACO_NAMESPACE
