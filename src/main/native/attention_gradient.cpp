// The gradients of causal attention without a matrix of scores (Dao, "FlashAttention-2", 2023, algorithm 2).
//
// A task takes one block of keys after the other, and for each block the rows that see one of its keys, kRows at a time.
// Softmax weights are computed anew from the scores and the logarithm of the sum of their exponentials.
#include "attention.hpp"

using namespace LACO_NAMESPACE;

namespace {

struct Scratch {
  float* keys;           // [kKeys, padded width], scaled
  float* key_columns;    // [padded width, kKeys]: keys, transposed
  float* value_columns;  // [padded width, kKeys]: values, transposed
  float* key_sums;       // [kKeys, padded width]
  float* value_sums;     // [kKeys, padded width]
  float* queries;        // [kRows, padded width], scaled
  float* gradients;      // [kRows, padded width]
  float* query_sums;     // [kTile, padded width]
  float* weights;        // [kRows, kKeys]
  float* by_scores;      // [kRows, kKeys]: gradients of scores

  static int64_t size(int64_t width) {
    return padded(width) * (5 * kKeys + 2 * kRows + kTile) + 2 * kRows * kKeys;
  }

  Scratch(float* memory, int64_t width) {
    keys = memory;
    key_columns = keys + kKeys * padded(width);
    value_columns = key_columns + padded(width) * kKeys;
    key_sums = value_columns + padded(width) * kKeys;
    value_sums = key_sums + kKeys * padded(width);
    queries = value_sums + kKeys * padded(width);
    gradients = queries + kRows * padded(width);
    query_sums = gradients + kRows * padded(width);
    weights = query_sums + kTile * padded(width);
    by_scores = weights + kRows * kKeys;
  }
};

// to = factor * from.
inline void scale_row(const float* from, float factor, int64_t width, float* to) {
  each_vector(width, [&](int64_t i, auto... n) { store(to + i, load(from + i, n...) * factor, n...); });
}

// to += from.
inline void add_row(const float* from, int64_t width, float* to) {
  each_vector(width, [&](int64_t i, auto... n) { store(to + i, load(to + i, n...) + load(from + i, n...), n...); });
}

// What the softmax of a row needs.
struct Row {
  Range range;   // of the keys that the row sees
  int64_t last;  // key of the row itself; counted, as the range, from the block's first
  float slope;   // of ALiBi
  float log_sum;
  float product;  // gradient . out, which the gradients of the softmax weights lose to each other
};

// Turns `count` scores of a row into softmax weights, and the gradients of these weights into those of the scores
// before soft-cap and ALiBi. Keys that the row does not see get zeros.
inline void differentiate_softmax(float* scores, float* gradients, int64_t count, const Row& row, float soft_cap) {
  const int32_t from = static_cast<int32_t>(row.range.from), to = static_cast<int32_t>(row.range.to);
  for (int64_t j = 0; j < count; j += W) {
    const Int key = lanes(j);
    const Vec score = capped(load(scores + j), soft_cap);
    Vec exponent = score - row.log_sum;
    if (row.slope != 0) {
      exponent += row.slope * __builtin_convertvector(key - static_cast<int32_t>(row.last), Vec);
    }
    const Int visible = (key >= from) & (key < to);
    const Vec weight = exp(exponent);
    Vec by_score = weight * (load(gradients + j) - row.product);
    if (soft_cap != 0) {
      const Vec share = score / soft_cap;
      by_score *= 1.0f - share * share;
    }
    store(scores + j, select(visible, weight, Vec{}));
    store(gradients + j, select(visible, by_score, Vec{}));
  }
}

void differentiate(const GradientTask& all, Scratch scratch) {
  const Heads& heads = all.heads;
  const int64_t length = all.length;
  const int64_t width = heads.width;
  const int64_t stride = padded(width);
  const int64_t group = all.group();
  const int64_t key_stride = heads.keys * width;
  all.clear_query_gradient();

  for (int64_t block = 0; block < length; block += kKeys) {
    const int64_t keys = min(kKeys, length - block);
    transpose(all.key + block * key_stride, keys, width, key_stride, scratch.key_columns);
    transpose(all.value + block * key_stride, keys, width, key_stride, scratch.value_columns);
    for (int64_t j = 0; j < keys; j++) {
      scale_row(all.key + (block + j) * key_stride, heads.scale, width, scratch.keys + j * stride);
    }
    clear(scratch.key_sums, kKeys * stride);
    clear(scratch.value_sums, kKeys * stride);
    // The first row that sees a key of the sequence.
    auto seen_from = [&](int64_t key) { return key * group; };
    const int64_t end = all.seen_to(block + keys - 1);
    for (int64_t first = seen_from(block); first < end; first += kRows) {
      const int64_t count = min(kRows, end - first);
      for (int64_t r = 0; r < kRows; r++) {
        if (r < count) {
          const int64_t at = all.head_of(first + r) * width;
          scale_row(all.query + at, heads.scale, width, scratch.queries + r * stride);
          copy_row(all.gradient + at, width, scratch.gradients + r * stride);
        } else if (r % kTile == 0) {
          break;
        } else {
          clear(scratch.queries + r * stride, stride);
          clear(scratch.gradients + r * stride, stride);
        }
      }
      // The keys of the block that a row sees.
      auto range = [&](int64_t row) {
        const int64_t query = (first + row) / group - block;
        const int64_t from = heads.window == 0 ? 0 : max(int64_t{0}, query - heads.window + 1);
        return Range{min(keys, from), min(keys, query + 1)};
      };
      for (int64_t tile = 0; tile < count; tile += kTile) {
        const int64_t own = min<int64_t>(kTile, count - tile);
        float* weights = scratch.weights + tile * kKeys;
        float* by_scores = scratch.by_scores + tile * kKeys;
        // Later rows see later keys.
        const Range seen = {range(tile).from, range(tile + own - 1).to};
        score(scratch.queries + tile * stride, scratch.key_columns, padded(seen.to), width, weights);
        score(scratch.gradients + tile * stride, scratch.value_columns, padded(seen.to), width, by_scores);
        for (int64_t r = 0; r < own; r++) {
          const int64_t row = first + tile + r;
          const float slope = heads.slopes == nullptr ? 0 : heads.slopes[row % group];
          const Row softmax = {range(tile + r), row / group - block, slope, all.log_sums[all.head_of(row)],
                               all.products[all.head_of(row)]};
          differentiate_softmax(weights + r * kKeys, by_scores + r * kKeys, padded(seen.to), softmax,
                                heads.soft_cap);
        }
        clear(scratch.query_sums, kTile * stride);
        weigh<kTile>(by_scores, scratch.keys, width, seen, scratch.query_sums);
        for (int64_t r = 0; r < own; r++) {
          add_row(scratch.query_sums + r * stride, width, all.query_gradient + all.head_of(first + tile + r) * width);
        }
      }
      for (int64_t tile = 0; tile < keys; tile += kTile) {
        const int64_t last = block + min(tile + kTile, keys) - 1;
        const Range seeing = {max(int64_t{0}, seen_from(block + tile) - first), min(count, all.seen_to(last) - first)};
        weigh<kTile, true>(scratch.weights + tile, scratch.gradients, width, seeing,
                           scratch.value_sums + tile * stride);
        weigh<kTile, true>(scratch.by_scores + tile, scratch.queries, width, seeing,
                           scratch.key_sums + tile * stride);
      }
    }
    for (int64_t j = 0; j < keys; j++) {
      copy_row(scratch.key_sums + j * stride, width, all.key_gradient + (block + j) * key_stride);
      copy_row(scratch.value_sums + j * stride, width, all.value_gradient + (block + j) * key_stride);
    }
  }
}

}  // namespace

// Number of floats that laco_attention_gradient needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_attention_gradient_scratch_,
                                                                    LACO_TIER)(int64_t width);
int64_t LACO_JOIN(laco_attention_gradient_scratch_, LACO_TIER)(int64_t width) { return Scratch::size(width); }

// As attention, for sequences without a past: query and gradient [T, query_heads * width], key, value
// [T, key_heads * width], log_sums from attention and products (gradient . out of each head) [T, query_heads]; the
// gradients by query, key and value as these.
LACO_KERNEL(attention_gradient)
(const float* query, const float* key, const float* value, int64_t query_heads, int64_t key_heads,
 int64_t width, int64_t window, float scale, float soft_cap, const float* slopes, const int32_t* offsets,
 int64_t sequences, const float* log_sums, const float* products, const float* gradient, float* scratch,
 float* query_gradient, float* key_gradient, float* value_gradient) {
  const Heads heads = {query_heads, key_heads, width, window, scale, soft_cap, slopes, nullptr};
  const Gradients all = {query,    key,      value,          heads,        offsets,       sequences, log_sums,
                         products, gradient, query_gradient, key_gradient, value_gradient};
  differentiate_all(
      all, scratch, Scratch::size(width), [] {},
      [&](const GradientTask& task, float* own) { differentiate(task, Scratch(own, width)); }, [] {});
  return LACO_OK;
}
