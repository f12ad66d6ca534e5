// What attention and its gradient share: products of small blocks of rows and keys.
#pragma once

#include <omp.h>

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

inline void clear(float* x, int64_t n) { std::memset(x, 0, static_cast<size_t>(n) * sizeof *x); }

inline void copy_row(const float* from, int64_t width, float* to) {
  each_vector(width, [&](int64_t i, auto... n) { store(to + i, load(from + i, n...), n...); });
}

// Transposes W rows of W floats, `stride` apart, into rows of `out` that are `out_stride` apart.
inline void transpose_square(const float* in, int64_t stride, float* out, int64_t out_stride) {
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
    store(out + i * out_stride, rows[i]);
  }
}

// Transposes keys [count <= kKeys, width], whose rows are `stride` apart, into out [width, kKeys]. Keys
// are padded with zeros to a multiple of W.
inline void transpose(const float* keys, int64_t count, int64_t width, int64_t stride, float* out) {
  const int64_t whole_keys = count / W * W;
  const int64_t whole_width = width / W * W;
  for (int64_t j = 0; j < whole_keys; j += W) {
    for (int64_t c = 0; c < whole_width; c += W) {
      transpose_square(keys + j * stride + c, stride, out + c * kKeys + j, kKeys);
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

// Turns `count` scores of a row, times scale and after their soft-cap, into exponentials relative to the largest score so
// far, and gives these to put(number, vector). When the largest score grows, the row's sums are rescaled. Scores outside the row's range
// become 0. With ALiBi a score falls by `slope` for each step from its key to the row's last key, number `last` of these.
template <class Exponential, class Put>
inline void soften(float* scores, int64_t count, Range range, float scale, float soft_cap, float slope, int64_t last,
                   float* most, float* total, float* sums, int64_t width, Exponential exponential, Put put) {
  const Vec none = splat(-__builtin_inff());
  const int32_t from = static_cast<int32_t>(range.from), to = static_cast<int32_t>(range.to);
  const bool hides = from > 0 || to < count;
  const bool plain = !hides && soft_cap == 0 && slope == 0;
  Vec maximum = none;
  if (plain) {
    for (int64_t j = 0; j < count; j += W) {
      maximum = max(maximum, load(scores + j) * scale);
    }
  } else {
    for (int64_t j = 0; j < count; j += W) {
      Int key = lanes(j);
      Vec score = capped(load(scores + j) * scale, soft_cap);
      if (slope != 0) {
        score += slope * __builtin_convertvector(key - static_cast<int32_t>(last), Vec);
      }
      if (hides) {
        score = select((key >= from) & (key < to), score, none);
      }
      store(scores + j, score);
      maximum = max(maximum, score);
    }
  }
  const float now = max(*most, largest(maximum));
  if (now > *most) {
    if (*total != 0) {
      const Vec factor = exp(splat(*most - now));
      *total *= factor[0];
      for (int64_t c = 0; c < padded(width); c += W) {
        store(sums + c, load(sums + c) * factor);
      }
    }
    *most = now;
  }
  const float shift = now == -__builtin_inff() ? 0 : now;
  Vec sum = {};
  for (int64_t j = 0; j < count; j += W) {
    Vec weight = exponential(load(scores + j) * (plain ? scale : 1.0f) - shift);
    put(j, weight);
    sum += weight;
  }
  *total += quick_sum(sum);
}

struct Heads {
  int64_t queries, keys, width, window;
  float scale, soft_cap;
  const float* slopes;  // of the heads that share the key-value head; null without ALiBi
  const float* sinks;   // likewise; null for none
};

// Attention of all heads over some sequences; the arguments of laco_attention.
struct Attention {
  const float *query, *key, *value;
  Heads heads;  // with the slopes and sinks of all heads
  const int32_t *offsets, *key_offsets, *past;
  int64_t sequences;
  float *out, *log_sums;
};

// A row of a task, and its softmax so far.
struct Row {
  int64_t offset;   // in query and out
  int64_t log_sum;  // its place in log_sums
  Range visible;    // the keys that the row sees
  float slope;      // of ALiBi
  float most;       // the largest score
  float total;      // the sum of the exponentials of scores relative to that one

  // The keys that the row sees of the keys block .. block + keys, counted from the first of these.
  Range range(int64_t block, int64_t keys) const {
    return {min(keys, max(int64_t{0}, visible.from - block)), max(int64_t{0}, min(keys, visible.to - block))};
  }

  // soften for the row's scores of the keys block .. block + count.
  template <class Exponential, class Put>
  void soften_scores(float* scores, int64_t block, int64_t count, float scale, float soft_cap, int64_t width, float* sums,
                     Exponential exponential, Put put) {
    soften(scores, count, range(block, count), scale, soft_cap, slope, visible.to - 1 - block, &most, &total, sums,
           width, exponential, put);
  }
};

// Some rows of one key-value head of one sequence, a row being a query of one of the heads that share that key-value
// head: row r is query r / group under head r % group. Pointers are to the first row of the sequence and to the first of
// these heads.
struct Task {
  const float *query, *key, *value;
  Heads heads;
  int64_t past;          // tokens of the sequence before its first query
  int64_t first, count;  // the rows of the task
  float *out, *log_sums;

  int64_t key_stride() const { return heads.keys * heads.width; }

  // Writes the task's rows before the first key, and returns the keys that are seen. A sink is a score before all others,
  // of which no value follows.
  Range begin(Row* rows) const {
    const int64_t group = heads.queries / heads.keys;
    int64_t at = first / group, head = first % group;
    const int64_t start = past + at + 1;
    Range seen = {heads.window == 0 ? int64_t{0} : max(int64_t{0}, start - heads.window), start};
    for (int64_t r = 0; r < count; r++) {
      const int64_t to = past + at + 1;
      const int64_t place = at * heads.queries + head;
      rows[r] = {place * heads.width,
                 place,
                 {heads.window == 0 ? int64_t{0} : max(int64_t{0}, to - heads.window), to},
                 heads.slopes == nullptr ? 0 : heads.slopes[head],
                 heads.sinks == nullptr ? -__builtin_inff() : heads.sinks[head],
                 heads.sinks == nullptr ? 0.0f : 1.0f};
      seen.to = to;
      if (++head == group) {
        head = 0;
        at++;
      }
    }
    return seen;
  }

  // Writes the output of a row, whose weighted values have been added up.
  void finish(const Row& row, const float* sums) const {
    const float inverse = 1 / row.total;
    float* to = out + row.offset;
    each_vector(heads.width, [&](int64_t i, auto... n) { store(to + i, load(sums + i, n...) * inverse, n...); });
    if (log_sums != nullptr) {
      log_sums[row.log_sum] = row.most + static_cast<float>(__builtin_log(static_cast<double>(row.total)));
    }
  }
};

// Calls attend(task, scratch) for tasks of up to `rows` rows that are all rows of an attention. `scratch` has
// `floats` for each thread; begin and end are called by each thread before its first task and after its last.
template <class Begin, class Attend, class End>
inline void attend_all(const Attention& all, int64_t rows, float* scratch, int64_t floats, Begin begin, Attend attend,
                       End end) {
  const Heads& heads = all.heads;
  const int64_t group = heads.queries / heads.keys;
  const bool parallel = all.offsets[all.sequences] * heads.queries * heads.width > kParallel / 8;
#pragma omp parallel if (parallel)
  {
    const int64_t threads = omp_get_num_threads();
    float* own = scratch + omp_get_thread_num() * floats;
    int64_t turn = threads - omp_get_thread_num() - 1;
    begin();
    for (int64_t s = 0; s < all.sequences; s++) {
      const int64_t count = (all.offsets[s + 1] - all.offsets[s]) * group;
      for (int64_t h = 0; h < heads.keys; h++) {
        for (int64_t first = 0; first < count; first += rows) {
          if (++turn < threads) {
            continue;
          }
          turn = 0;
          const int64_t queries = all.offsets[s] * heads.queries * heads.width + h * group * heads.width;
          const int64_t keys = all.key_offsets[s] * heads.keys * heads.width + h * heads.width;
          Heads shared = heads;
          shared.slopes = heads.slopes == nullptr ? nullptr : heads.slopes + h * group;
          shared.sinks = heads.sinks == nullptr ? nullptr : heads.sinks + h * group;
          float* log_sums = all.log_sums == nullptr ? nullptr : all.log_sums + all.offsets[s] * heads.queries + h * group;
          attend(Task{all.query + queries, all.key + keys, all.value + keys, shared, all.past[s], first,
                      min(rows, count - first), all.out + queries, log_sums},
                 own);
        }
      }
    }
    end();
  }
}

// Gradients of attention over some sequences; the arguments of laco_attention_gradient.
struct Gradients {
  const float *query, *key, *value;
  Heads heads;  // with the slopes of all heads
  const int32_t* offsets;
  int64_t sequences;
  const float *log_sums, *products, *gradient;
  float *query_gradient, *key_gradient, *value_gradient;
};

// The gradients of one key-value head of one sequence. Its rows are those of Task. Pointers are to the first row of the
// sequence and to the first of the heads that share the key-value head.
struct GradientTask {
  const float *query, *key, *value, *gradient, *log_sums, *products;
  float *query_gradient, *key_gradient, *value_gradient;
  Heads heads;
  int64_t length;  // queries, and keys, of the sequence

  int64_t group() const { return heads.queries / heads.keys; }
  int64_t rows() const { return length * group(); }

  // The number of a row's head among all heads of the sequence.
  int64_t head_of(int64_t row) const { return row / group() * heads.queries + row % group(); }

  // The row behind the last that sees a key.
  int64_t seen_to(int64_t key) const {
    return heads.window == 0 ? rows() : min(rows(), (key + heads.window) * group());
  }

  // Gradients by queries are sums over blocks of keys.
  void clear_query_gradient() const {
    for (int64_t row = 0; row < rows(); row++) {
      clear(query_gradient + head_of(row) * heads.width, heads.width);
    }
  }
};

// Calls differentiate(task, scratch) for all tasks. `scratch` has `floats` for each thread; begin and end are called by
// each thread before its first task and after its last.
template <class Begin, class Differentiate, class End>
inline void differentiate_all(const Gradients& all, float* scratch, int64_t floats, Begin begin,
                              Differentiate differentiate, End end) {
  const Heads& heads = all.heads;
  const int64_t width = heads.width, group = heads.queries / heads.keys;
  const bool parallel = all.offsets[all.sequences] * heads.queries * width > kParallel / 8;
#pragma omp parallel if (parallel)
  {
    float* own = scratch + omp_get_thread_num() * floats;
    begin();
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < all.sequences * heads.keys; task++) {
      const int64_t s = task / heads.keys, h = task % heads.keys;
      const int64_t heads_before = all.offsets[s] * heads.queries + h * group;
      const int64_t queries = heads_before * width;
      const int64_t keys = (all.offsets[s] * heads.keys + h) * width;
      Heads shared = heads;
      shared.slopes = heads.slopes == nullptr ? nullptr : heads.slopes + h * group;
      differentiate(GradientTask{all.query + queries, all.key + keys, all.value + keys, all.gradient + queries,
                                 all.log_sums + heads_before, all.products + heads_before,
                                 all.query_gradient + queries, all.key_gradient + keys, all.value_gradient + keys,
                                 shared, all.offsets[s + 1] - all.offsets[s]},
                    own);
    }
    end();
  }
}

}  // namespace LACO_NAMESPACE
