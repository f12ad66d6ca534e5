// Causal attention without a matrix of scores. Keys are read in blocks. For each query the kernel keeps
// the largest score so far, the sum of exponentials and the weighted sum of values (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//
// A task is one key-value head of one sequence and up to kRows rows, a row being a query of one of
// the heads that share that key-value head. Keys of a block are transposed once per task: a vector then
// holds one element of several keys, and no sum over a vector's elements is needed.
#include "attention.hpp"

#include <omp.h>

using namespace LACO_NAMESPACE;

namespace {

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

// Turns `count` scores of a row, after their soft-cap, into exponentials relative to the largest score so far. When
// the largest score grows, the row's sums are rescaled. Scores outside the row's range become 0. With ALiBi a score
// falls by `slope` for each step from its key to the row's last key, number `last` of these.
void soften(float* scores, int64_t count, Range range, float soft_cap, float slope, int64_t last, float* most,
            float* total, float* sums, int64_t width) {
  const Vec none = splat(-__builtin_inff());
  const int32_t from = static_cast<int32_t>(range.from), to = static_cast<int32_t>(range.to);
  const bool hides = from > 0 || to < count;
  Vec maximum = none;
  for (int64_t j = 0; j < count; j += W) {
    Int key = lanes(j);
    Vec score = capped(load(scores + j), soft_cap);
    if (slope != 0) {
      score += slope * __builtin_convertvector(key - static_cast<int32_t>(last), Vec);
    }
    if (hides) {
      score = select((key >= from) & (key < to), score, none);
    }
    store(scores + j, score);
    maximum = max(maximum, score);
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

// Computes rows first .. first + count of one key-value head of one sequence. Row r is query r / group of
// the sequence under head r % group of those that share the key-value head.
void attend(const float* query, const float* key, const float* value, const Heads& heads,
            int64_t past, int64_t first, int64_t count, Scratch scratch, float* out, float* log_sums) {
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
    // A sink is a score before all others, of which no value follows.
    const bool sinks = heads.sinks != nullptr;
    most[r] = sinks ? heads.sinks[(first + r) % group] : -__builtin_inff();
    total[r] = sinks ? 1 : 0;
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
    if (log_sums != nullptr) {
      log_sums[(first + r) / group * heads.queries + (first + r) % group] =
          most[r] + static_cast<float>(__builtin_log(static_cast<double>(total[r])));
    }
  }
}

}  // namespace

// Number of floats that laco_attention needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_attention_scratch_,
                                                                    LACO_TIER)(int64_t width);
int64_t LACO_JOIN(laco_attention_scratch_, LACO_TIER)(int64_t width) { return Scratch::size(width); }

// query, out [T, query_heads * width], key, value [K, key_heads * width]; offsets, key_offsets
// [sequences + 1], past [sequences]; window and soft_cap 0 for none, slopes [query_heads] or null, sinks [query_heads] or null: for each head one more score in
// each query's softmax, which has no value; scratch for as many
// threads as OpenMP uses. log_sums [T, query_heads] or null: the logarithm of the sum of the exponentials of each query's
// scores.
LACO_KERNEL(attention)
(const float* query, const float* key, const float* value, int64_t query_heads, int64_t key_heads,
 int64_t width, int64_t window, float scale, float soft_cap, const float* slopes, const float* sinks,
 const int32_t* offsets, const int32_t* key_offsets, const int32_t* past, int64_t sequences, float* scratch, float* out,
 float* log_sums) {
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
                               slopes == nullptr ? nullptr : slopes + h * group,
                               sinks == nullptr ? nullptr : sinks + h * group};
          attend(query + queries, key + keys, value + keys, heads, past[s], first,
                 min(kRows, rows - first), own, out + queries,
                 log_sums == nullptr ? nullptr : log_sums + offsets[s] * query_heads + h * group);
        }
      }
    }
  }
  return LACO_OK;
}
