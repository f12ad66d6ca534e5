// The gradients of causal attention by products of tiles of bf16 numbers, with f32 sums. As attention_gradient.cpp, with
// these differences: queries, keys, values, gradients of the output, softmax weights and the gradients of scores are
// rounded to bf16, and scores have a row for each key and a column for each row of the task, so that softmax weights and
// the gradients of scores are left factors of the gradients by values and keys as they are.
#include "tiles.hpp"

using namespace LACO_NAMESPACE;

namespace {

constexpr int64_t kBlock = 256;  // keys that are laid out at once
constexpr int64_t kStep = 128;   // rows that are laid out at once

struct Scratch {
  float* copied;               // [kBlock, whole width]
  float* key_sums;             // [kBlock, whole width]
  float* value_sums;           // [kBlock, whole width]
  float* query_sums;           // [whole width, kStep]
  float* scores;               // [kPair, kStep]
  float* by_weights;           // [kPair, kStep]: gradients of softmax weights
  uint16_t* keys;              // [kBlock, whole width]
  uint16_t* values;            // [kBlock, whole width]
  uint16_t* key_columns;       // [whole width, kBlock]: keys, transposed
  uint16_t* query_columns;     // tiles [kStep / kSide, whole width / kDeep]
  uint16_t* gradient_columns;  // likewise
  uint16_t* query_rows;        // tiles [whole width / kSide, kStep / kDeep]
  uint16_t* gradient_rows;     // likewise
  uint16_t* weights;           // [kPair, kStep]
  uint16_t* by_scores;         // [kPair, kStep]: gradients of scores
  uint16_t* by_score_rows;     // tiles [kStep / kSide, 1]

  static int64_t size(int64_t width) {
    return whole(width) * (3 * kBlock + kStep) + 2 * kPair * kStep +
           (whole(width) * (3 * kBlock + 4 * kStep) + 3 * kPair * kStep) / 2;
  }

  Scratch(float* memory, int64_t width) {
    const int64_t block = kBlock * whole(width), step = kStep * whole(width);
    copied = memory;
    key_sums = copied + block;
    value_sums = key_sums + block;
    query_sums = value_sums + block;
    scores = query_sums + step;
    by_weights = scores + kPair * kStep;
    keys = reinterpret_cast<uint16_t*>(by_weights + kPair * kStep);
    values = keys + block;
    key_columns = values + block;
    query_columns = key_columns + block;
    gradient_columns = query_columns + step;
    query_rows = gradient_columns + step;
    gradient_rows = query_rows + step;
    weights = gradient_rows + step;
    by_scores = weights + kPair * kStep;
    by_score_rows = by_scores + kPair * kStep;
  }
};

// What the softmax of some rows needs, by row. Keys are counted from the first of a block.
struct Softmax {
  int32_t from[kStep], to[kStep];  // the keys that the row sees
  float last[kStep];               // the row's own key
  float slope[kStep];              // of ALiBi
  float log_sum[kStep];
  float product[kStep];  // gradient . out, which the gradients of the softmax weights lose to each other
};

inline Int load_keys(const int32_t* p) { return bit_cast<Int>(_mm512_loadu_si512(p)); }

// A softmax weight of kSide rows, and its gradient by the score before soft-cap and ALiBi.
struct Weight {
  Vec weight, by_score;
};

// Turns the scores of one key into softmax weights. Without `masks` all rows see the key, and there is neither soft-cap
// nor ALiBi.
template <bool masks>
inline Weight soften_one(const float* scores, const float* by_weights, int64_t key, int64_t row, const Softmax& rows,
                         float scale, float soft_cap) {
  const Vec score = masks ? capped(load(scores + row) * scale, soft_cap) : load(scores + row) * scale;
  Vec exponent = score - load(rows.log_sum + row);
  if (masks) {
    exponent += load(rows.slope + row) * (splat(static_cast<float>(key)) - load(rows.last + row));
  }
  const Vec weight = rough_exp(exponent);
  Vec by_score = weight * (load(by_weights + row) - load(rows.product + row));
  if (!masks) {
    return {weight, by_score};
  }
  if (soft_cap != 0) {
    const Vec share = score / soft_cap;
    by_score *= 1.0f - share * share;
  }
  const int32_t k = static_cast<int32_t>(key);
  const Int visible = (load_keys(rows.from + row) <= k) & (load_keys(rows.to + row) > k);
  return {select(visible, weight, Vec{}), select(visible, by_score, Vec{})};
}

// Turns the scores of kPair keys, from key `first` of the block on, and the rows of range into softmax weights and
// gradients of scores, as bf16.
template <bool masks>
inline void soften_keys(int64_t first, Range range, const Softmax& rows, float scale, float soft_cap, Scratch scratch) {
  for (int64_t j = 0; j < kPair; j += 2) {
    for (int64_t r = range.from; r < range.to; r += kPair) {
      Weight all[2][2];
      for (int64_t k = 0; k < 2; k++) {
        const int64_t at = (j + k) * kStep;
        for (int64_t half = 0; half < 2; half++) {
          all[k][half] = soften_one<masks>(scratch.scores + at, scratch.by_weights + at, first + j + k,
                                           r + half * kSide, rows, scale, soft_cap);
        }
        _mm512_storeu_si512(scratch.weights + at + r, rounded(all[k][0].weight, all[k][1].weight));
        _mm512_storeu_si512(scratch.by_scores + at + r, rounded(all[k][0].by_score, all[k][1].by_score));
      }
      for (int64_t half = 0; half < 2; half++) {
        uint16_t* tile = scratch.by_score_rows + (r / kSide + half) * kTileNumbers;
        _mm512_storeu_si512(tile + j / 2 * kDeep, paired(all[0][half].by_score, all[1][half].by_score));
      }
    }
  }
}

// Rounds keys and values [count, width], `stride` apart, with zeros up to a whole pair of tiles.
void lay_out_block(const float* key, const float* value, int64_t count, int64_t width, int64_t stride, Scratch scratch) {
  const int64_t columns = whole(width);
  const int64_t rows = (count + kPair - 1) / kPair * kPair;
  clear(scratch.copied, rows * columns);
  std::memset(scratch.values + count * columns, 0, static_cast<size_t>((rows - count) * columns) * 2);
  for (int64_t j = 0; j < count; j++) {
    copy_row(key + j * stride, width, scratch.copied + j * columns);
    round_row(value + j * stride, width, scratch.values + j * columns);
  }
  alignas(64) float square[kSide * kSide], other[kSide * kSide];
  for (int64_t j = 0; j < rows; j++) {
    round_row(scratch.copied + j * columns, columns, scratch.keys + j * columns);
  }
  for (int64_t j = 0; j < rows; j += kPair) {
    for (int64_t c = 0; c < columns; c += kSide) {
      transpose_square(scratch.copied + j * columns + c, columns, square, kSide);
      transpose_square(scratch.copied + (j + kSide) * columns + c, columns, other, kSide);
      for (int64_t i = 0; i < kSide; i++) {
        _mm512_storeu_si512(scratch.key_columns + (c + i) * kBlock + j,
                            rounded(load(square + i * kSide), load(other + i * kSide)));
      }
    }
  }
}

void differentiate(const GradientTask& all, Scratch scratch) {
  const Heads& heads = all.heads;
  const int64_t length = all.length;
  const int64_t width = heads.width;
  const int64_t columns = whole(width);
  const int64_t group = all.group();
  const int64_t key_stride = heads.keys * width;
  constexpr int64_t depth = kStep / kDeep;
  const bool plain = heads.window == 0 && heads.soft_cap == 0 && heads.slopes == nullptr;
  all.clear_query_gradient();

  Softmax softmax;
  for (int64_t block = 0; block < length; block += kBlock) {
    const int64_t keys = min(kBlock, length - block);
    lay_out_block(all.key + block * key_stride, all.value + block * key_stride, keys, width, key_stride, scratch);
    clear(scratch.key_sums, kBlock * columns);
    clear(scratch.value_sums, kBlock * columns);
    const int64_t end = all.seen_to(block + keys - 1);
    for (int64_t first = block * group; first < end; first += kStep) {
      const int64_t count = min(kStep, end - first);
      for (int64_t r = 0; r < kStep; r++) {
        const int64_t row = min(first + r, end - 1), place = all.head_of(row), query = row / group - block;
        const int64_t from = heads.window == 0 ? 0 : max(int64_t{0}, query - heads.window + 1);
        softmax.from[r] = static_cast<int32_t>(min(keys, from));
        softmax.to[r] = r < count ? static_cast<int32_t>(min(keys, query + 1)) : 0;
        softmax.last[r] = static_cast<float>(query);
        softmax.slope[r] = heads.slopes == nullptr ? 0 : heads.slopes[row % group];
        softmax.log_sum[r] = all.log_sums[place];
        softmax.product[r] = all.products[place];
      }
      auto lay_out = [&](const float* from, uint16_t* as_columns, uint16_t* as_rows) {
        for (int64_t r = 0; r < count; r++) {
          copy_row(from + all.head_of(first + r) * width, width, scratch.copied + r * columns);
        }
        lay_out_columns(scratch.copied, count, width, columns, as_columns);
        lay_out_rows(scratch.copied, count, width, columns, depth, as_rows);
      };
      lay_out(all.query, scratch.query_columns, scratch.query_rows);
      lay_out(all.gradient, scratch.gradient_columns, scratch.gradient_rows);
      clear(scratch.query_sums, columns * kStep);

      for (int64_t j = 0; j < keys; j += kPair) {
        const int64_t last = min(j + kPair, keys) - 1;
        const int64_t to = min(count, all.seen_to(block + last) - first);
        const Range seeing = {max(int64_t{0}, (block + j) * group - first) / kPair * kPair,
                              (to + kPair - 1) / kPair * kPair};
        if (seeing.from >= seeing.to) {
          continue;
        }
        const uint16_t* key_rows = scratch.keys + j * columns;
        dot(key_rows, scratch.query_columns, seeing, width, scratch.scores, kStep);
        dot(scratch.values + j * columns, scratch.gradient_columns, seeing, width, scratch.by_weights, kStep);
        // Later rows see later keys.
        if (plain && j + kPair <= softmax.to[seeing.from] && seeing.to <= count) {
          soften_keys<false>(j, seeing, softmax, heads.scale, 0, scratch);
        } else {
          soften_keys<true>(j, seeing, softmax, heads.scale, heads.soft_cap, scratch);
        }
        weigh(scratch.weights, kStep, scratch.gradient_rows, depth, seeing, columns, scratch.value_sums + j * columns,
              columns);
        weigh(scratch.by_scores, kStep, scratch.query_rows, depth, seeing, columns, scratch.key_sums + j * columns,
              columns);
        for (int64_t c = 0; c < columns; c += kPair) {
          weigh(scratch.key_columns + c * kBlock + j, kBlock, scratch.by_score_rows + seeing.from * kDeep, 1,
                {0, kDeep}, seeing.to - seeing.from, scratch.query_sums + c * kStep + seeing.from, kStep);
        }
      }

      alignas(64) float square[kSide * kSide];
      for (int64_t r = 0; r < count; r += kSide) {
        for (int64_t c = 0; c < width; c += kSide) {
          transpose_square(scratch.query_sums + c * kStep + r, kStep, square, kSide);
          for (int64_t i = 0; i < min(kSide, count - r); i++) {
            float* to = all.query_gradient + all.head_of(first + r + i) * width + c;
            each_vector(min(kSide, width - c), [&](int64_t at, auto... n) {
              store(to + at, load(to + at, n...) + load(square + i * kSide + at) * heads.scale, n...);
            });
          }
        }
      }
    }
    for (int64_t j = 0; j < keys; j++) {
      float* to = all.key_gradient + (block + j) * key_stride;
      const float* sums = scratch.key_sums + j * columns;
      each_vector(width, [&](int64_t i, auto... n) { store(to + i, load(sums + i) * heads.scale, n...); });
      copy_row(scratch.value_sums + j * columns, width, all.value_gradient + (block + j) * key_stride);
    }
  }
}

}  // namespace

// Number of floats that laco_attention_gradient_tiles needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t laco_attention_gradient_tiles_scratch(int64_t width) {
  return Scratch::size(width);
}

// As laco_attention_gradient, after laco_use_tiles.
extern "C" __attribute__((visibility("default"))) int32_t laco_attention_gradient_tiles(
    const float* query, const float* key, const float* value, int64_t query_heads, int64_t key_heads, int64_t width,
    int64_t window, float scale, float soft_cap, const float* slopes, const int32_t* offsets, int64_t sequences,
    const float* log_sums, const float* products, const float* gradient, float* scratch, float* query_gradient,
    float* key_gradient, float* value_gradient) {
  const Heads heads = {query_heads, key_heads, width, window, scale, soft_cap, slopes, nullptr};
  const Gradients all = {query,    key,      value,          heads,        offsets,       sequences, log_sums,
                         products, gradient, query_gradient, key_gradient, value_gradient};
  differentiate_all(
      all, scratch, Scratch::size(width), use_tiles,
      [&](const GradientTask& task, float* own) { differentiate(task, Scratch(own, width)); },
      [] { _tile_release(); });
  return LACO_OK;
}
