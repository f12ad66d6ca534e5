// What the gated delta rule and its gradient share. Both take kTokens tokens at once: what these read of the state before
// them, and what they write to it, are then products of small matrices, and what is left is what the tokens read of each
// other (Yang et al. 2025, arXiv 2412.06464, section 3.3).
#pragma once

#include "attention.hpp"

namespace LACO_NAMESPACE {

inline constexpr int64_t kTokens = 16;
static_assert(kTokens % W == 0);

// Rows of a product whose sums are held in registers at once, for two vectors of columns.
#if LACO_TIER == 2
inline constexpr int kProductRows = 8;
#else
inline constexpr int kProductRows = 4;
#endif

// A factor of a product: element (r, i) is at r * row_step + i * step, so that a matrix or its transpose is one.
struct Factor {
  const float* first;
  int64_t row_step, step;
};

// Rows of floats, `stride` apart.
struct Rows {
  float* first;
  int64_t stride;

  float* operator[](int64_t r) const { return first + r * stride; }
  Factor factor() const { return {first, stride, 1}; }
  Factor transposed() const { return {first, 1, stride}; }
  Rows from(int64_t r) const { return {first + r * stride, stride}; }
};

// out[r] = keep * out[r] + sum of a(r, i) b[i] over i < n, for `rows` rows and `vectors` vectors; that sum alone if
// out is not kept.
template <bool kept, int rows, int vectors>
inline void multiply_tile(Factor a, const float* b, int64_t b_stride, int64_t n, float keep, float* out,
                          int64_t out_stride) {
  Vec sums[rows][vectors] = {};
  if (kept) {
    for (int r = 0; r < rows; r++) {
      for (int v = 0; v < vectors; v++) {
        sums[r][v] = keep * load(out + r * out_stride + v * W);
      }
    }
  }
  for (int64_t i = 0; i < n; i++) {
    Vec right[vectors];
    for (int v = 0; v < vectors; v++) {
      right[v] = load(b + i * b_stride + v * W);
    }
    for (int r = 0; r < rows; r++) {
      const Vec left = splat(a.first[r * a.row_step + i * a.step]);
      for (int v = 0; v < vectors; v++) {
        sums[r][v] = fma(left, right[v], sums[r][v]);
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int v = 0; v < vectors; v++) {
      store(out + r * out_stride + v * W, sums[r][v]);
    }
  }
}

// As multiply_tile, for `count` rows.
template <bool kept, int vectors>
inline void multiply_rows(Factor a, int64_t count, const float* b, int64_t b_stride, int64_t n, float keep, float* out,
                          int64_t out_stride) {
  const auto from = [&](int64_t r) { return Factor{a.first + r * a.row_step, a.row_step, a.step}; };
  int64_t r = 0;
  for (; r + kProductRows <= count; r += kProductRows) {
    multiply_tile<kept, kProductRows, vectors>(from(r), b, b_stride, n, keep, out + r * out_stride, out_stride);
  }
  for (; r + 2 <= count; r += 2) {
    multiply_tile<kept, 2, vectors>(from(r), b, b_stride, n, keep, out + r * out_stride, out_stride);
  }
  if (r < count) {
    multiply_tile<kept, 1, vectors>(from(r), b, b_stride, n, keep, out + r * out_stride, out_stride);
  }
}

// As multiply_tile, for `count` rows and `columns` columns, a multiple of W.
template <bool kept>
inline void multiply(Factor a, int64_t count, Rows b, int64_t n, float keep, Rows out, int64_t columns) {
  int64_t c = 0;
  for (; c + 2 * W <= columns; c += 2 * W) {
    multiply_rows<kept, 2>(a, count, b.first + c, b.stride, n, keep, out.first + c, out.stride);
  }
  if (c < columns) {
    multiply_rows<kept, 1>(a, count, b.first + c, b.stride, n, keep, out.first + c, out.stride);
  }
}

// out = keep * out + sum of factors[i * step] rows[i] over i < n; that sum alone if out is not kept. `columns` is a
// multiple of W.
template <bool kept>
inline void combine(const float* factors, int64_t step, Rows rows, int64_t n, float keep, float* out,
                    int64_t columns) {
  const Factor a = {factors, 0, step};
  int64_t c = 0;
  for (; c + 4 * W <= columns; c += 4 * W) {
    multiply_tile<kept, 1, 4>(a, rows.first + c, rows.stride, n, keep, out + c, 0);
  }
  for (; c < columns; c += W) {
    multiply_tile<kept, 1, 1>(a, rows.first + c, rows.stride, n, keep, out + c, 0);
  }
}

// Transposes `count` rows of `columns` floats into rows of `out`. Reads both up to the next multiple of W.
inline void transpose_rows(Rows in, int64_t count, int64_t columns, Rows out) {
  for (int64_t r = 0; r < count; r += W) {
    for (int64_t c = 0; c < columns; c += W) {
      transpose_square(in[r] + c, in.stride, out[c] + r, out.stride);
    }
  }
}

// Multiplies the floats of a row, a multiple of W, by a number, or by the floats of another row.
inline void scale(float factor, int64_t columns, float* row) {
  for (int64_t c = 0; c < columns; c += W) {
    store(row + c, factor * load(row + c));
  }
}
inline void scale(const float* factors, int64_t columns, float* row) {
  for (int64_t c = 0; c < columns; c += W) {
    store(row + c, load(factors + c) * load(row + c));
  }
}

// Copies a row and writes zeros behind it, up to a multiple of W.
inline void copy_padded(const float* from, int64_t width, float* to) {
  each_vector(width, [&](int64_t c, auto... n) { store(to + c, load(from + c, n...)); });
}

// The arguments of the gated delta rule, and where they have those of a token and head.
struct Delta {
  const float *heads, *decay, *rate, *log_decay, *decay_bias;
  int64_t key_heads, value_heads, key, value;

  int64_t group() const { return value_heads / key_heads; }
  int64_t all() const { return 2 * key_heads * key + value_heads * value; }
  int64_t query_at(int64_t t, int64_t key_head) const { return t * all() + key_head * key; }
  int64_t key_at(int64_t t, int64_t key_head) const { return query_at(t, key_heads + key_head); }
  int64_t value_at(int64_t t, int64_t h) const { return query_at(t, 2 * key_heads) + h * value; }
  int64_t out_at(int64_t t, int64_t h) const { return (t * value_heads + h) * value; }

  double decay_input(int64_t t, int64_t h) const {
    return static_cast<double>(decay[t * value_heads + h]) + static_cast<double>(decay_bias[h]);
  }

  // What softplus is multiplied by for the logarithm of the share of a head's state that is kept.
  double decay_factor(int64_t h) const { return -__builtin_exp(static_cast<double>(log_decay[h])); }

  double query_factor() const { return 1 / __builtin_sqrt(static_cast<double>(key)); }
};

// log(1 + e^x).
inline double softplus(double x) { return max(x, 0.0) + __builtin_log1p(__builtin_exp(-__builtin_fabs(x))); }

// 1 / (1 + e^-x).
inline double logistic(double x) { return 1 / (1 + __builtin_exp(-x)); }

// The root of the sum of the squares of a query or key and 1e-6, by which it is divided.
inline double length_of(const float* x, int64_t width) {
  Wide squares = {};
  each_vector(width, [&](int64_t i, auto... n) {
    const Vec v = load(x + i, n...);
    squares += low(v) * low(v) + high(v) * high(v);
  });
  return __builtin_sqrt(sum(squares) + 1e-6);
}

// Up to kTokens tokens of a head.
struct Tokens {
  Rows keys;             // [2 count, padded(key)]: keys, then queries, all divided as they are used
  float shares[kTokens]; // of the state that are kept
  float rates[kTokens];
  int64_t count;

  Rows queries() const { return keys.from(count); }

  void read(const Delta& delta, int64_t first, int64_t n, int64_t h) {
    count = n;
    const int64_t key_head = h / delta.group();
    const auto divide = [&](const float* x, double factor, float* to) {
      const float inverse = static_cast<float>(factor / length_of(x, delta.key));
      each_vector(delta.key, [&](int64_t i, auto... rest) { store(to + i, inverse * load(x + i, rest...)); });
    };
    for (int64_t t = 0; t < count; t++) {
      divide(delta.heads + delta.key_at(first + t, key_head), 1, keys[t]);
      divide(delta.heads + delta.query_at(first + t, key_head), delta.query_factor(), queries()[t]);
      const double logarithm = delta.decay_factor(h) * softplus(delta.decay_input(first + t, h));
      shares[t] = static_cast<float>(__builtin_exp(logarithm));
      rates[t] = static_cast<float>(logistic(static_cast<double>(delta.rate[(first + t) * delta.value_heads + h])));
    }
  }
};

}  // namespace LACO_NAMESPACE
