// Causal attention without a matrix of scores. Keys are read in blocks. For each query the kernel keeps
// the largest score so far, the sum of exponentials and the weighted sum of values (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//
// A task is one key-value head of one sequence and up to kRows rows, a row being a query of one of
// the heads that share that key-value head. Keys of a block are transposed once per task: a vector then
// holds one element of several keys, and no sum over a vector's elements is needed.
#include "attention.hpp"

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

void attend(const Task& task, Scratch scratch) {
  const int64_t width = task.heads.width;
  const int64_t stride = padded(width);
  const int64_t count = task.count;

  Row all[kRows];
  const Range seen = task.begin(all);
  for (int64_t r = 0; r < (count + kTile - 1) / kTile * kTile; r++) {
    float* row = scratch.queries + r * stride;
    for (int64_t c = 0; c < stride; c += W) {
      store(row + c, Vec{});
      store(scratch.sums + r * stride + c, Vec{});
    }
    if (r < count) {
      copy_row(task.query + all[r].offset, width, row);
      for (int64_t c = 0; c < stride; c += W) {
        store(row + c, load(row + c) * task.heads.scale);
      }
    }
  }

  for (int64_t block = seen.from; block < seen.to; block += kKeys) {
    const int64_t keys = min(kKeys, seen.to - block);
    transpose(task.key + block * task.key_stride(), keys, width, task.key_stride(), scratch.keys);
    // Rows that are a power of two apart would share a few lines of the cache.
    for (int64_t j = 0; j < keys; j++) {
      copy_row(task.value + (block + j) * task.key_stride(), width, scratch.values + j * stride);
    }
    for (int64_t tile = 0; tile < count; tile += kTile) {
      const int64_t rows = min<int64_t>(kTile, count - tile);
      Row* row = all + tile;
      float* scores = scratch.scores + tile * kKeys;
      float* sums = scratch.sums + tile * stride;
      // Later rows see later keys.
      const Range top = row[0].range(block, keys), bottom = row[rows - 1].range(block, keys);
      const int64_t scored = padded(bottom.to);
      score(scratch.queries + tile * stride, scratch.keys, scored, width, scores);
      for (int64_t r = 0; r < rows; r++) {
        float* own = scores + r * kKeys;
        row[r].soften_scores(
            own, block, scored, 1, task.heads.soft_cap, width, sums + r * stride, [](Vec x) { return exp(x); },
            [&](int64_t j, Vec weight) { store(own + j, weight); });
      }
      // 0 * NaN is NaN, so that each row reads only the values of keys that it sees.
      Range common = {bottom.from, top.to};
      if (rows < kTile || common.from >= common.to) {
        common = {kKeys, kKeys};
      } else {
        weigh<kTile>(scores, scratch.values, width, common, sums);
      }
      for (int64_t r = 0; r < rows; r++) {
        const Range own = row[r].range(block, keys);
        weigh<1>(scores + r * kKeys, scratch.values, width,
                 {own.from, min(own.to, common.from)}, sums + r * stride);
        weigh<1>(scores + r * kKeys, scratch.values, width,
                 {max(own.from, common.to), own.to}, sums + r * stride);
      }
    }
  }

  for (int64_t r = 0; r < count; r++) {
    task.finish(all[r], scratch.sums + r * stride);
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
  const Heads heads = {query_heads, key_heads, width, window, scale, soft_cap, slopes, sinks};
  const Attention all = {query, key, value, heads, offsets, key_offsets, past, sequences, out, log_sums};
  const auto nothing = [] {};
  attend_all(
      all, kRows, scratch, Scratch::size(width), nothing,
      [&](const Task& task, float* own) { attend(task, Scratch(own, width)); }, nothing);
  return LACO_OK;
}
