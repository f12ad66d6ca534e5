// Causal attention by products of tiles of bf16 numbers, with f32 sums. As attention.cpp, with these differences: queries,
// keys, values and the weights of values are rounded to bf16, and a task has more rows, since keys and values are laid out
// for tiles once a task.
#include "tiles.hpp"

#include <sys/syscall.h>
#include <unistd.h>

using namespace LACO_NAMESPACE;

namespace {

// With half of both, sequences of 256 tokens take as long, and ones of 2048 tokens a third longer.
constexpr int64_t kTask = 512;   // rows of a task
constexpr int64_t kBlock = 256;  // keys that are laid out at once

struct Scratch {
  float* sums;        // [kTask + kPair, whole width]
  float* scores;      // [kPair, kBlock]
  uint16_t* queries;  // [kTask + kPair, whole width]
  uint16_t* keys;     // tiles [kBlock / kSide, whole width / kDeep]
  uint16_t* values;   // tiles [whole width / kSide, kBlock / kDeep]
  uint16_t* weights;  // [kPair, kBlock]

  static int64_t size(int64_t width) {
    return whole(width) * ((kTask + kPair) * 3 / 2 + kBlock) + kPair * kBlock * 3 / 2;
  }

  Scratch(float* memory, int64_t width) {
    sums = memory;
    scores = sums + (kTask + kPair) * whole(width);
    queries = reinterpret_cast<uint16_t*>(scores + kPair * kBlock);
    keys = queries + (kTask + kPair) * whole(width);
    values = keys + kBlock * whole(width);
    weights = values + kBlock * whole(width);
  }
};

void attend(const Task& task, Scratch scratch) {
  const int64_t width = task.heads.width;
  const int64_t stride = whole(width);

  Row all[kTask];
  const Range seen = task.begin(all);
  std::memset(scratch.queries + task.count * stride, 0, static_cast<size_t>(kPair * stride) * 2);
  for (int64_t r = 0; r < task.count; r++) {
    round_row(task.query + all[r].offset, width, scratch.queries + r * stride);
  }
  std::memset(scratch.sums, 0, static_cast<size_t>((task.count + kPair) * stride) * sizeof(float));
  // Weights of the rows behind the last one.
  std::memset(scratch.weights, 0, kPair * kBlock * 2);

  for (int64_t block = seen.from; block < seen.to; block += kBlock) {
    const int64_t keys = min(kBlock, seen.to - block);
    const float* values = task.value + block * task.key_stride();
    lay_out_columns(task.key + block * task.key_stride(), keys, width, task.key_stride(), scratch.keys);
    const bool finite = lay_out_rows(values, keys, width, task.key_stride(), kBlock / kDeep, scratch.values);
    for (int64_t tile = 0; tile < task.count; tile += kPair) {
      const int64_t count = min(kPair, task.count - tile);
      Row* row = all + tile;
      // Later rows see later keys.
      const int64_t from = row[0].range(block, keys).from / kPair * kPair;
      const int64_t to = (row[count - 1].range(block, keys).to + kPair - 1) / kPair * kPair;
      if (from >= to) {
        continue;
      }
      dot(scratch.queries + tile * stride, scratch.keys, {from, to}, width, scratch.scores, kBlock);
      for (int64_t r = 0; r < count; r++) {
        float* scores = scratch.scores + r * kBlock;
        float* sums = scratch.sums + (tile + r) * stride;
        uint16_t* weights = scratch.weights + r * kBlock + from;
        row[r].soften_scores(scores + from, block + from, to - from, task.heads.scale, task.heads.soft_cap,
                             width, sums, rough_exp,
                             [&](int64_t j, Vec weight) {
                               _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + j),
                                                   bit_cast<__m256i>(_mm512_cvtneps_pbh(weight)));
                               if (!finite) {
                                 store(scores + from + j, weight);
                               }
                             });
        // 0 * NaN is NaN, so that each row reads only the values of keys that it sees.
        const Range own = row[r].range(block, keys);
        for (int64_t j = own.from; !finite && j < own.to; j++) {
          each_vector(width, [&](int64_t i, auto... n) {
            const Vec value = load(values + j * task.key_stride() + i, n...);
            store(sums + i, fma(scores[j], value, load(sums + i, n...)), n...);
          });
        }
      }
      if (finite) {
        weigh(scratch.weights, kBlock, scratch.values, kBlock / kDeep, {from, to}, stride,
              scratch.sums + tile * stride, stride);
      }
    }
  }

  for (int64_t r = 0; r < task.count; r++) {
    task.finish(all[r], scratch.sums + r * stride);
  }
}

}  // namespace

// Asks the operating system for the registers of tiles, which a process may use only then (Linux, arch/x86: "Using
// XSTATE features in user space applications"). Returns 1 if the process has them; the processor must have them.
extern "C" __attribute__((visibility("default"))) int32_t laco_use_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0 ? 1 : 0;
}

// Number of floats that laco_attention_tiles needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t laco_attention_tiles_scratch(int64_t width) {
  return Scratch::size(width);
}

// As laco_attention, after laco_use_tiles.
extern "C" __attribute__((visibility("default"))) int32_t laco_attention_tiles(
    const float* query, const float* key, const float* value, int64_t query_heads, int64_t key_heads, int64_t width,
    int64_t window, float scale, float soft_cap, const float* slopes, const float* sinks, const int32_t* offsets,
    const int32_t* key_offsets, const int32_t* past, int64_t sequences, float* scratch, float* out, float* log_sums) {
  const Heads heads = {query_heads, key_heads, width, window, scale, soft_cap, slopes, sinks};
  const Attention all = {query, key, value, heads, offsets, key_offsets, past, sequences, out, log_sums};
  attend_all(
      all, kTask, scratch, Scratch::size(width), use_tiles,
      [&](const Task& task, float* own) { attend(task, Scratch(own, width)); }, [] { _tile_release(); });
  return LACO_OK;
}
