// Causal attention without a matrix of scores. Keys are read in blocks. For each query the kernel keeps
// the largest score so far, the sum of exponentials and the weighted sum of values (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//
// A task is one key-value head of one sequence and up to kRows rows, a row being a query of one of
// the heads that share that key-value head. Keys of a block are transposed once per task: a vector then
// holds one element of several keys, and no sum over a vector's elements is needed.
#include "math.hpp"

#include <omp.h>

using namespace LACO_NAMESPACE;

namespace {

constexpr int64_t kRows = 64;
constexpr int64_t kKeys = 64;
constexpr int kTile = 4;  // rows whose sums are held in registers at once
#if LACO_TIER == 2
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
static_assert(kKeys % (kVectors * W) == 0 && kRows % kTile == 0);

constexpr int64_t padded(int64_t width) { return (width + W - 1) / W * W; }

struct Scratch {
  float* keys;     // [padded width, kKeys], transposed
  float* values;   // [kKeys, padded width]
  float* queries;  // [kRows, padded width], scaled
  float* sums;     // [kRows, padded width]
  float* scores;   // [kRows, kKeys]

  static int64_t size(int64_t width) {
    return padded(width) * (2 * kKeys + 2 * kRows) + kRows * kKeys;
  }

  Scratch(float* memory, int64_t width) {
    keys = memory;
    values = keys + padded(width) * kKeys;
    queries = values + kKeys * padded(width);
    sums = queries + kRows * padded(width);
    scores = sums + kRows * padded(width);
  }
};

// The keys [from, to) of a block that a row may see.
struct Range {
  int64_t from, to;
};

void copy_row(const float* from, int64_t n, float* to) {
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    store(to + i, load(from + i));
  }
  if (i < n) {
    store(to + i, load(from + i, n - i));
  }
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
void transpose(const float* keys, int64_t count, int64_t width, int64_t stride, float* out) {
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
void score(const float* queries, const float* keys, int64_t count, int64_t width, float* scores) {
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

// sums[r] += sum over the keys of range of weights[r][j] * values[j], for `vectors` vectors of `rows`
// rows of sums and values, all of them `stride` apart.
template <int rows, int vectors>
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
      Vec weight = splat(weights[r * kKeys + j]);
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

template <int rows>
void weigh(const float* weights, const float* values, int64_t width, Range range, float* sums) {
  if (range.from >= range.to) {
    return;
  }
  const int64_t stride = padded(width);
  int64_t c = 0;
  for (; c + kVectors * W <= stride; c += kVectors * W) {
    weigh_columns<rows, kVectors>(weights, values + c, stride, range, sums + c);
  }
  for (; c < stride; c += W) {
    weigh_columns<rows, 1>(weights, values + c, stride, range, sums + c);
  }
}

// Turns `count` scores of a row, after their soft-cap, into exponentials relative to the largest score so far. When
// the largest score grows, the row's sums are rescaled. Scores outside the row's range become 0. With ALiBi a score
// falls by `slope` for each step from its key to the row's last key, number `last` of these.
void soften(float* scores, int64_t count, Range range, float soft_cap, float slope, int64_t last, float* most,
            float* total, float* sums, int64_t width) {
  Int lane;
  for (int i = 0; i < W; i++) {
    lane[i] = i;
  }
  const Vec none = splat(-__builtin_inff());
  const int32_t from = static_cast<int32_t>(range.from), to = static_cast<int32_t>(range.to);
  Vec maximum = none;
  for (int64_t j = 0; j < count; j += W) {
    Int key = lane + static_cast<int32_t>(j);
    Vec score = capped(load(scores + j), soft_cap);
    if (slope != 0) {
      score += slope * __builtin_convertvector(key - static_cast<int32_t>(last), Vec);
    }
    Vec visible = select((key >= from) & (key < to), score, none);
    store(scores + j, visible);
    maximum = max(maximum, visible);
  }
  const float now = max(*most, largest(maximum));
  if (now > *most) {
    const Vec factor = exp(splat(*most - now));
    *total *= factor[0];
    for (int64_t c = 0; c < padded(width); c += W) {
      store(sums + c, load(sums + c) * factor);
    }
    *most = now;
  }
  const float shift = now == -__builtin_inff() ? 0 : now;
  Vec sum = {};
  for (int64_t j = 0; j < count; j += W) {
    Vec weight = exp(load(scores + j) - shift);
    store(scores + j, weight);
    sum += weight;
  }
  *total += quick_sum(sum);
}

struct Heads {
  int64_t queries, keys, width, window;
  float scale, soft_cap;
  const float* slopes;  // of the heads that share the key-value head; null without ALiBi
};

// Computes rows first .. first + count of one key-value head of one sequence. Row r is query r / group of
// the sequence under head r % group of those that share the key-value head.
void attend(const float* query, const float* key, const float* value, const Heads& heads,
            int64_t past, int64_t first, int64_t count, Scratch scratch, float* out) {
  const int64_t width = heads.width;
  const int64_t stride = padded(width);
  const int64_t group = heads.queries / heads.keys;
  const int64_t query_stride = heads.queries * width;
  const int64_t key_stride = heads.keys * width;
  const int64_t tiles = (count + kTile - 1) / kTile * kTile;
  auto offset = [&](int64_t row) {
    return (first + row) / group * query_stride + (first + row) % group * width;
  };
  auto visible_to = [&](int64_t row) { return past + (first + row) / group + 1; };
  auto visible_from = [&](int64_t row) {
    return heads.window == 0 ? int64_t{0} : max(int64_t{0}, visible_to(row) - heads.window);
  };

  float most[kRows], total[kRows];
  for (int64_t r = 0; r < tiles; r++) {
    most[r] = -__builtin_inff();
    total[r] = 0;
    float* row = scratch.queries + r * stride;
    for (int64_t c = 0; c < stride; c += W) {
      store(row + c, Vec{});
      store(scratch.sums + r * stride + c, Vec{});
    }
    if (r < count) {
      copy_row(query + offset(r), width, row);
      for (int64_t c = 0; c < stride; c += W) {
        store(row + c, load(row + c) * heads.scale);
      }
    }
  }

  const int64_t last = visible_to(count - 1);
  for (int64_t block = visible_from(0); block < last; block += kKeys) {
    const int64_t keys = min(kKeys, last - block);
    transpose(key + block * key_stride, keys, width, key_stride, scratch.keys);
    // Rows that are a power of two apart would share a few lines of the cache.
    for (int64_t j = 0; j < keys; j++) {
      copy_row(value + (block + j) * key_stride, width, scratch.values + j * stride);
    }
    auto range = [&](int64_t row) {
      return Range{min(kKeys, max(int64_t{0}, visible_from(row) - block)),
                   max(int64_t{0}, min(keys, visible_to(row) - block))};
    };
    for (int64_t tile = 0; tile < count; tile += kTile) {
      const int64_t rows = min<int64_t>(kTile, count - tile);
      float* scores = scratch.scores + tile * kKeys;
      float* sums = scratch.sums + tile * stride;
      // Later rows see later keys.
      const Range top = range(tile), bottom = range(tile + rows - 1);
      const int64_t seen = padded(bottom.to);
      score(scratch.queries + tile * stride, scratch.keys, seen, width, scores);
      for (int64_t r = 0; r < rows; r++) {
        const float slope = heads.slopes == nullptr ? 0 : heads.slopes[(first + tile + r) % group];
        soften(scores + r * kKeys, seen, range(tile + r), heads.soft_cap, slope, visible_to(tile + r) - 1 - block,
               &most[tile + r], &total[tile + r], sums + r * stride, width);
      }
      // 0 * NaN is NaN, so that each row reads only the values of keys that it sees.
      Range common = {bottom.from, top.to};
      if (rows < kTile || common.from >= common.to) {
        common = {kKeys, kKeys};
      } else {
        weigh<kTile>(scores, scratch.values, width, common, sums);
      }
      for (int64_t r = 0; r < rows; r++) {
        const Range own = range(tile + r);
        weigh<1>(scores + r * kKeys, scratch.values, width,
                 {own.from, min(own.to, common.from)}, sums + r * stride);
        weigh<1>(scores + r * kKeys, scratch.values, width,
                 {max(own.from, common.to), own.to}, sums + r * stride);
      }
    }
  }

  for (int64_t r = 0; r < count; r++) {
    const float inverse = 1 / total[r];
    const float* row = scratch.sums + r * stride;
    float* to = out + offset(r);
    int64_t c = 0;
    for (; c + W <= width; c += W) {
      store(to + c, load(row + c) * inverse);
    }
    if (c < width) {
      store(to + c, load(row + c) * inverse, width - c);
    }
  }
}

}  // namespace

// Number of floats that laco_attention needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_attention_scratch_,
                                                                    LACO_TIER)(int64_t width);
int64_t LACO_JOIN(laco_attention_scratch_, LACO_TIER)(int64_t width) { return Scratch::size(width); }

// query, out [T, query_heads * width], key, value [K, key_heads * width]; offsets, key_offsets
// [sequences + 1], past [sequences]; window and soft_cap 0 for none, slopes [query_heads] or null; scratch for as many threads as OpenMP uses.
LACO_KERNEL(attention)
(const float* query, const float* key, const float* value, int64_t query_heads, int64_t key_heads,
 int64_t width, int64_t window, float scale, float soft_cap, const float* slopes,
 const int32_t* offsets, const int32_t* key_offsets, const int32_t* past, int64_t sequences, float* scratch, float* out) {
  const int64_t group = query_heads / key_heads;
  const bool parallel = offsets[sequences] * query_heads * width > kParallel / 8;
#pragma omp parallel if (parallel)
  {
    const int64_t threads = omp_get_num_threads();
    const Scratch own(scratch + omp_get_thread_num() * Scratch::size(width), width);
    int64_t turn = threads - omp_get_thread_num() - 1;
    for (int64_t s = 0; s < sequences; s++) {
      const int64_t rows = (offsets[s + 1] - offsets[s]) * group;
      for (int64_t h = 0; h < key_heads; h++) {
        for (int64_t first = 0; first < rows; first += kRows) {
          if (++turn < threads) {
            continue;
          }
          turn = 0;
          const int64_t queries = offsets[s] * query_heads * width + h * group * width;
          const int64_t keys = key_offsets[s] * key_heads * width + h * width;
          const Heads heads = {query_heads, key_heads, width, window, scale, soft_cap,
                               slopes == nullptr ? nullptr : slopes + h * group};
          attend(query + queries, key + keys, value + keys, heads, past[s], first,
                 min(kRows, rows - first), own, out + queries);
        }
      }
    }
  }
  return LACO_OK;
}
