// Causal attention by products of tiles of bf16 numbers, with f32 sums (Intel AMX: Intel 64 and IA-32 Architectures
// Software Developer's Manual, volume 1, chapter 18). As attention.cpp, with these differences: queries, keys, values and
// the weights of values are rounded to bf16, and a task has more rows, since keys and values are laid out for tiles once a
// task.
//
// The right factor of a product of tiles has its rows in pairs: element (k, n) is number 2 n + k % 2 of row k / 2.
// This file has a namespace of its own, since it is compiled for more instructions than its tier.
#define LACO_NAMESPACE laco_tiles
#include "attention.hpp"

#include <sys/syscall.h>
#include <unistd.h>

using namespace LACO_NAMESPACE;

namespace {

// With half of both, sequences of 256 tokens take as long, and ones of 2048 tokens a third longer.
constexpr int64_t kTask = 512;   // rows of a task
constexpr int64_t kBlock = 256;  // keys that are laid out at once

constexpr int64_t kSide = 16;                    // rows of a tile, and floats of one
constexpr int64_t kDeep = 2 * kSide;             // numbers in bf16 of a row of a tile
constexpr int64_t kPair = 2 * kSide;             // rows, or columns, of two tiles
constexpr int64_t kTileNumbers = kSide * kDeep;  // numbers in bf16 of a tile

// Elements of a head, with zeros up to two tiles of floats, which are one of bf16.
constexpr int64_t whole(int64_t width) { return (width + kPair - 1) / kPair * kPair; }

struct Scratch {
  float* sums;        // [kTask + kPair, whole width]
  float* scores;      // [kPair, kBlock]
  uint16_t* queries;  // [kTask + kPair, whole width]
  uint16_t* keys;     // tiles [kBlock / kSide, whole width / kDeep]
  uint16_t* values;   // tiles [whole width / kSide, kBlock / kDeep]
  uint16_t* weights;  // [kPair, kBlock]
  float* square;      // [kSide, kSide]

  static int64_t size(int64_t width) {
    return whole(width) * ((kTask + kPair) * 3 / 2 + kBlock) + kPair * kBlock * 3 / 2 + kSide * kSide;
  }

  Scratch(float* memory, int64_t width) {
    sums = memory;
    scores = sums + (kTask + kPair) * whole(width);
    square = scores + kPair * kBlock;
    queries = reinterpret_cast<uint16_t*>(square + kSide * kSide);
    keys = queries + (kTask + kPair) * whole(width);
    values = keys + kBlock * whole(width);
    weights = values + kBlock * whole(width);
  }
};

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

// Lays out keys [count, width] for queries . keys.
void lay_out_keys(const float* key, int64_t count, int64_t width, int64_t stride, Scratch scratch) {
  const int64_t steps = whole(width) / kDeep;
  for (int64_t j = 0; j < (count + kPair - 1) / kPair * kPair; j += kSide) {
    for (int64_t step = 0; step < steps; step++) {
      // A pair of numbers in bf16 moves as a float does.
      for (int64_t k = 0; k < kSide; k++) {
        const int64_t c = step * kDeep;
        const float* row = key + (j + k) * stride + c;
        const bool given = j + k < count;
        const Vec first = given ? load_some(row, width - c) : Vec{};
        const Vec second = given ? load_some(row + W, width - c - W) : Vec{};
        _mm512_storeu_si512(scratch.square + k * kSide, rounded(first, second));
      }
      uint16_t* tile = scratch.keys + (j / kSide * steps + step) * kTileNumbers;
      transpose_square(scratch.square, kSide, reinterpret_cast<float*>(tile), kSide);
    }
  }
}

// Lays out values [count, width] for weights . values. Returns false if one of them is not finite in bf16.
bool lay_out_values(const float* value, int64_t count, int64_t width, int64_t stride, Scratch scratch) {
  alignas(64) uint16_t interleaved[kDeep];
  for (int64_t n = 0; n < kSide; n++) {
    interleaved[2 * n] = static_cast<uint16_t>(n);
    interleaved[2 * n + 1] = static_cast<uint16_t>(kSide + n);
  }
  const __m512i order = _mm512_load_si512(interleaved);
  constexpr int64_t depth = kBlock / kDeep;
  Int largest_bits = {};
  for (int64_t j = 0; j < (count + kDeep - 1) / kDeep * kDeep; j += 2) {
    for (int64_t c = 0; c < whole(width); c += kSide) {
      const float* row = value + j * stride + c;
      const Vec first = j < count ? load_some(row, width - c) : Vec{};
      const Vec second = j + 1 < count ? load_some(row + stride, width - c) : Vec{};
      const Int bits = bit_cast<Int>(magnitude(first)), others = bit_cast<Int>(magnitude(second));
      largest_bits = bits > largest_bits ? bits : largest_bits;
      largest_bits = others > largest_bits ? others : largest_bits;
      uint16_t* tile = scratch.values + (c / kSide * depth + j / kDeep) * kTileNumbers;
      _mm512_storeu_si512(tile + j % kDeep / 2 * kDeep, _mm512_permutexvar_epi16(order, rounded(first, second)));
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

// scores[r][j] = queries[r] . keys[j] for kPair rows and the keys of range, whose ends are multiples of kPair.
void score(const uint16_t* queries, Range range, int64_t width, Scratch scratch) {
  const int64_t steps = whole(width) / kDeep;
  const size_t row_bytes = static_cast<size_t>(whole(width)) * 2;
  constexpr size_t kScores = kBlock * sizeof(float);
  for (int64_t j = range.from; j < range.to; j += kPair) {
    const uint16_t* keys = scratch.keys + j / kSide * steps * kTileNumbers;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; step++) {
      _tile_loadd(4, queries + step * kDeep, row_bytes);
      _tile_loadd(5, queries + kSide * whole(width) + step * kDeep, row_bytes);
      _tile_loadd(6, keys + step * kTileNumbers, 64);
      _tile_loadd(7, keys + (steps + step) * kTileNumbers, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, scratch.scores + j, kScores);
    _tile_stored(1, scratch.scores + j + kSide, kScores);
    _tile_stored(2, scratch.scores + kSide * kBlock + j, kScores);
    _tile_stored(3, scratch.scores + kSide * kBlock + j + kSide, kScores);
  }
}

// sums[r] += sum over the keys j of range of weights[r][j] * values[j] for kPair rows; the range ends at multiples of
// kPair.
void weigh(Range range, int64_t width, Scratch scratch, float* sums) {
  const size_t row_bytes = static_cast<size_t>(whole(width)) * sizeof(float);
  constexpr size_t kWeights = kBlock * 2;
  constexpr int64_t depth = kBlock / kDeep;
  float* below = sums + kSide * whole(width);
  for (int64_t c = 0; c < whole(width); c += kPair) {
    _tile_loadd(0, sums + c, row_bytes);
    _tile_loadd(1, sums + c + kSide, row_bytes);
    _tile_loadd(2, below + c, row_bytes);
    _tile_loadd(3, below + c + kSide, row_bytes);
    const uint16_t* values = scratch.values + c / kSide * depth * kTileNumbers;
    for (int64_t j = range.from; j < range.to; j += kDeep) {
      _tile_loadd(4, scratch.weights + j, kWeights);
      _tile_loadd(5, scratch.weights + kSide * kBlock + j, kWeights);
      _tile_loadd(6, values + j / kDeep * kTileNumbers, 64);
      _tile_loadd(7, values + (depth + j / kDeep) * kTileNumbers, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums + c, row_bytes);
    _tile_stored(1, sums + c + kSide, row_bytes);
    _tile_stored(2, below + c, row_bytes);
    _tile_stored(3, below + c + kSide, row_bytes);
  }
}

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
    lay_out_keys(task.key + block * task.key_stride(), keys, width, task.key_stride(), scratch);
    const bool finite = lay_out_values(values, keys, width, task.key_stride(), scratch);
    for (int64_t tile = 0; tile < task.count; tile += kPair) {
      const int64_t count = min(kPair, task.count - tile);
      Row* row = all + tile;
      // Later rows see later keys.
      const int64_t from = row[0].range(block, keys).from / kPair * kPair;
      const int64_t to = (row[count - 1].range(block, keys).to + kPair - 1) / kPair * kPair;
      if (from >= to) {
        continue;
      }
      score(scratch.queries + tile * stride, {from, to}, width, scratch);
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
        weigh({from, to}, width, scratch, scratch.sums + tile * stride);
      }
    }
  }

  for (int64_t r = 0; r < task.count; r++) {
    task.finish(all[r], scratch.sums + r * stride);
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
      all, kTask, scratch, Scratch::size(width),
      [] {
        const TileConfig config;
        _tile_loadconfig(&config);
      },
      [&](const Task& task, float* own) { attend(task, Scratch(own, width)); }, [] { _tile_release(); });
  return LACO_OK;
}
