// Causal attention over packed sequences, without a matrix of scores. Keys are read in blocks. For each row the
// kernel keeps the largest score so far, the sum of exponentials and the weighted sum of values (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao, "FlashAttention-2", 2023).
//
//   laco_attention_f32_v1           f32 throughout, heads of any width up to 512: the parity mode.
//       grid (ceil(longest * group / 16), key-value heads, sequences), block 128, shared memory
//       192 * width + 512 bytes with the width rounded up to a multiple of 32
//   laco_attention_<bf16|f16>_v2    both products on tensor cores; keys and values have 16 bits, queries are rounded
//       on the way into shared memory; widths that are multiples of 16, up to 64
//   laco_attention_<bf16|f16>_v3    the same up to width 128: 32 rows a warp, for which a piece of keys or values is
//       loaded once; queries not in registers
//   laco_attention_<bf16|f16>_v4    the same up to width 256: 16 rows a warp, queries not in registers
//       grid (ceil(longest * group / 128), key-value heads, sequences), block 256, 128 and 256, shared memory 24576,
//       49152 and 98304 bytes
//
// A block takes one sequence, one key-value head and a number of rows; a row is a query under one of the
// `group` heads that share the key-value head. Keys and values are therefore read once for all heads of a group, and
// a step of generation uses more than one row of a tile.
//
// q, out [tokens, heads * width]; log_sums [tokens, heads], the logarithms of the sums of the exponentials of scores, or
// null; sinks [heads], for each head one more score in each query's softmax, which has no value (gpt-oss), or null;
// k, v [keys, key-value heads * width] in the kernel's type, past keys included; offsets, key_offsets [sequences + 1]; past [sequences]. A query at position p sees keys max(0, p - window + 1) … p,
// window 0 meaning all. With s = scale * q . k, scale > 0: s = soft_cap * tanh(s / soft_cap) unless
// soft_cap is 0 (Gemma 2), then s += alibi[head] * (key position - query position) unless alibi is null (Press
// et al., "Train Short, Test Long", 2022).
//
// Keys and values that a row does not see have no influence on it, even where they are NaN.
#include "attention.cuh"
#include "attention_tiles.cuh"

namespace {

using namespace laco;

// ---- f32

namespace f32 {

constexpr int kThreads = 128;
constexpr int kRows = 16;
constexpr int kKeys = kWarp;  // one for each lane
constexpr int kRowsOfWarp = kRows / (kThreads / kWarp);
constexpr int kMostColumns = 512;

}  // namespace f32

}  // namespace

extern "C" __global__ void __launch_bounds__(f32::kThreads, 2)
    laco_attention_f32_v1(const float* q, const float* k, const float* v, float* out,
                          float* log_sums, const float* sinks, const int32_t* offsets,
                          const int32_t* key_offsets, const int32_t* past, const float* alibi, int32_t heads, int32_t key_heads, int32_t width,
                          int32_t window, float scale, float soft_cap) {
  using namespace f32;
  const Task<float> task(q, k, v, out, offsets, key_offsets, past, heads, key_heads, width, window);
  const int first = task.first_row(kRows);
  if (first >= task.rows) {
    return;
  }
  const int rows = min(kRows, task.rows - first);
  const int last = first + rows - 1;

  // Rows of the block of keys, or values, are four elements longer than a multiple of the 32 banks: the vectors of
  // eight rows in one column lie in all banks, and so do 32 neighbours of one row.
  const int columns = (width + kWarp - 1) / kWarp * kWarp;
  const int stride = columns + 4;
  LACO_DYNAMIC_SHARED(float, shared);
  float* const queries = shared;                   // [kRows, columns]
  float* const block = queries + kRows * columns;  // [kKeys, stride]
  __shared__ float4 weights[kThreads / kWarp][kKeys];  // of the four rows of each warp

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = first + warp * kRowsOfWarp;  // the warp's first row
  int position[kRowsOfWarp];
  float slope[kRowsOfWarp];
  float most[kRowsOfWarp], total[kRowsOfWarp];  // total: this lane's keys only
  float sums[kRowsOfWarp][kMostColumns / kWarp] = {};  // columns lane, lane + 32, …
#pragma unroll
  for (int r = 0; r < kRowsOfWarp; r++) {
    position[r] = task.position(own + r);
    slope[r] = task.slope(alibi, own + r);
    most[r] = task.sink(sinks, own + r);
    total[r] = sinks != nullptr && lane == 0 ? 1 : 0;
  }

  const bool vectors = width % 4 == 0 && aligned4(task.query) && aligned4(task.key) && aligned4(task.value);
  copy_rows<kThreads>([&](int row) { return task.query + task.offset(first + row); }, rows, width, vectors, queries,
            columns, columns);

  const int end = task.seen_to(last);
  for (int start = task.seen_from(first); start < end; start += kKeys) {
    const int keys = min(kKeys, end - start);
    copy_rows<kThreads>([&](int row) { return task.key + task.key_offset(start + row); }, keys, width, vectors,
              block, columns, stride);
    __syncthreads();

    float dots[kRowsOfWarp] = {};
    for (int c = 0; c < width; c += 4) {
      const float4 key = load4(block + lane * stride + c);
#pragma unroll
      for (int r = 0; r < kRowsOfWarp; r++) {
        const float4 query = load4(queries + (warp * kRowsOfWarp + r) * columns + c);
        dots[r] = fmaf(query.x, key.x, dots[r]);
        dots[r] = fmaf(query.y, key.y, dots[r]);
        dots[r] = fmaf(query.z, key.z, dots[r]);
        dots[r] = fmaf(query.w, key.w, dots[r]);
      }
    }

    float weight[kRowsOfWarp];
    const int key = start + lane;
#pragma unroll
    for (int r = 0; r < kRowsOfWarp; r++) {
      float score = dots[r] * scale;
      if (soft_cap != 0) {
        score = soft_cap * tanhf(score / soft_cap);
      }
      score += slope[r] * static_cast<float>(key - position[r]);
      score = task.sees(position[r], key) ? score : -infinity();
      const float now = fmaxf(most[r], warp_max(score));
      const float fade = expf(most[r] - now);
      weight[r] = expf(score - now);
      most[r] = now;
      total[r] = total[r] * fade + weight[r];
#pragma unroll
      for (int i = 0; i < kMostColumns / kWarp; i++) {
        sums[r][i] *= fade;
      }
    }
    weights[warp][lane] = make_float4(weight[0], weight[1], weight[2], weight[3]);
    __syncthreads();

    copy_rows<kThreads>([&](int row) { return task.value + task.key_offset(start + row); }, keys, width, vectors,
              block, columns, stride);
    __syncthreads();

    for (int j = 0; j < keys; j++) {
      const float4 all = weights[warp][j];
      const float of_row[kRowsOfWarp] = {all.x, all.y, all.z, all.w};
#pragma unroll
      for (int i = 0; i < kMostColumns / kWarp; i++) {
        if (i * kWarp < columns) {
          const float value = block[j * stride + i * kWarp + lane];
#pragma unroll
          for (int r = 0; r < kRowsOfWarp; r++) {
            if (task.sees(position[r], start + j)) {
              sums[r][i] = fmaf(of_row[r], value, sums[r][i]);
            }
          }
        }
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int r = 0; r < kRowsOfWarp; r++) {
    const float sum = warp_sum(total[r]);
    const float inverse = 1 / sum;
    if (own + r < task.rows) {
      if (log_sums != nullptr && lane == 0) {
        log_sums[task.entry(own + r)] = most[r] + logf(sum);
      }
      float* const row = task.out + task.offset(own + r);
#pragma unroll
      for (int i = 0; i < kMostColumns / kWarp; i++) {
        if (i * kWarp + lane < width) {
          row[i * kWarp + lane] = sums[r][i] * inverse;
        }
      }
    }
  }
}
LACO_EXPORT(laco_attention_f32_v1)

namespace {

// ---- tensor cores

namespace tensor_cores {

constexpr int kRows = 128;
constexpr int kTileRows = 16;  // of a product; a warp has one tile of rows, or two, by the kernel's kTiles
template <int kTiles>
constexpr int kThreads = kRows / kTileRows / kTiles * kWarp;
// Copies kRowCount rows of f32 into shared memory, rounded to T. All are loaded into registers before they are stored.
template <class T, int kWidth, int kRowCount, int kThreads>
struct Transit {
  static constexpr int kLanes = kWidth < kThreads / 2 ? kWidth / 4 : kThreads / 8;  // next to each other in a row
  static constexpr int kColumns = 4 * kLanes;
  static constexpr int kRowStep = kThreads / kLanes;
  static constexpr int kRowSteps = kRowCount / kRowStep;
  static constexpr int kColumnSteps = kWidth / kColumns;
  float4 quads[kRowSteps][kColumnSteps];

  __device__ static int row() { return static_cast<int>(threadIdx.x) / kLanes; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kLanes * 4; }

  // Row i begins at row_at(i) and has `width` elements; zeros follow.
  template <class RowAt>
  __device__ __forceinline__ void ask(RowAt row_at, int width, bool vectors) {
#pragma unroll
    for (int c = 0; c < kColumnSteps; c++) {
      const int at = column() + c * kColumns;
      if (at >= width) {
#pragma unroll
        for (int r = 0; r < kRowSteps; r++) {
          quads[r][c] = make_float4(0, 0, 0, 0);
        }
      } else if (vectors) {
#pragma unroll
        for (int r = 0; r < kRowSteps; r++) {
          quads[r][c] = load4(row_at(row() + r * kRowStep) + at);
        }
      } else {
#pragma unroll
        for (int r = 0; r < kRowSteps; r++) {
          const float* p = row_at(row() + r * kRowStep) + at;
          quads[r][c] = make_float4(p[0], p[1], p[2], p[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void put(T* tile) const {
    static_assert(kRowStep % 8 == 0 && kColumns % 64 == 0, "steps are periods of the swizzle");
    T* const to = tile + swizzled<kWidth>(row(), column());
#pragma unroll
    for (int r = 0; r < kRowSteps; r++) {
#pragma unroll
      for (int c = 0; c < kColumnSteps; c++) {
        store4(to + r * kRowStep * kWidth + c * kColumns, quads[r][c]);
      }
    }
  }
};

// Up to this width a warp's queries stay in registers, if they are one tile.
template <int kWidth, int kTiles>
constexpr bool kHeld = kWidth <= 128 && kTiles == 1;

// scores += queries keys^T. A piece of the keys is loaded once for all tiles.
template <class T, int kWidth, int kKeys, int kTiles>
__device__ __forceinline__ void score(const Pieces<T, kWidth>& queries, const uint32_t (&held)[kWidth / 16][4],
                                      const Pieces<T, kWidth>& keys, float (&scores)[kTiles][kKeys / 8][4]) {
#pragma unroll
  for (int k = 0; k < kWidth / 16; k++) {
    uint32_t query[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; t++) {
      if constexpr (kHeld<kWidth, kTiles>) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          query[t][i] = held[k][i];
        }
      } else {
        queries.template load<false>(query[t], t * kTileRows, k * 16);
      }
    }
#pragma unroll
    for (int n = 0; n < kKeys / 16; n++) {
      uint32_t key[4];
      keys.template load<false>(key, n * 16, k * 16);
#pragma unroll
      for (int t = 0; t < kTiles; t++) {
        multiply_add<T>(scores[t][2 * n], query[t], key[0], key[1]);
        multiply_add<T>(scores[t][2 * n + 1], query[t], key[2], key[3]);
      }
    }
  }
}

// sums += weights values.
template <class T, int kWidth, int kKeys, int kTiles>
__device__ __forceinline__ void weigh(const float (&weights)[kTiles][kKeys / 8][4], const Pieces<T, kWidth>& values,
                                      float (&sums)[kTiles][kWidth / 8][4]) {
#pragma unroll
  for (int k = 0; k < kKeys / 16; k++) {
    uint32_t weight[kTiles][4];
#pragma unroll
    for (int t = 0; t < kTiles; t++) {
      // Sixteen columns in the layout of d are in the layout of a, too.
      const float(&low)[4] = weights[t][2 * k], (&high)[4] = weights[t][2 * k + 1];
      weight[t][0] = narrow_two<T>(low[0], low[1]);
      weight[t][1] = narrow_two<T>(low[2], low[3]);
      weight[t][2] = narrow_two<T>(high[0], high[1]);
      weight[t][3] = narrow_two<T>(high[2], high[3]);
    }
#pragma unroll
    for (int n = 0; n < kWidth / 16; n++) {
      uint32_t value[4];
      values.template load<true>(value, k * 16, n * 16);
#pragma unroll
      for (int t = 0; t < kTiles; t++) {
        multiply_add<T>(sums[t][2 * n], weight[t], value[0], value[1]);
        multiply_add<T>(sums[t][2 * n + 1], weight[t], value[2], value[3]);
      }
    }
  }
}

// A lane's part of the state of its two rows of a tile.
struct Rows {
  float most[kHalves];   // the largest score so far
  float total[kHalves];  // of the weights of this lane's keys
};

// Turns scores into exponentials relative to the largest score so far. When that grows, the row's sums are rescaled.
template <int kWidth, int kKeys>
__device__ __forceinline__ void soften(float (&scores)[kKeys / 8][4], float log2_scale, Rows& rows,
                                       float (&sums)[kWidth / 8][4]) {
#pragma unroll
  for (int h = 0; h < kHalves; h++) {
    float now = rows.most[h];
#pragma unroll
    for (int n = 0; n < kKeys / 8; n++) {
      now = fmaxf(now, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
    }
    // The three lanes beside have the row's other columns.
    now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
    now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
    // Both products are rounded, since fused with the difference they would not cancel where the maximum stays.
    const float shift = now == -infinity() ? 0 : __fmul_rn(now, log2_scale);  // no key seen yet: all weights are 0
    const float fade = exp2_quick(__fmul_rn(rows.most[h], log2_scale) - shift);
    rows.most[h] = now;
    // Narrow heads have no registers to spare for the branch.
    if (kWidth <= 64 || __any_sync(~0u, fade != 1)) {
      rows.total[h] *= fade;
#pragma unroll
      for (int n = 0; n < kWidth / 8; n++) {
        sums[n][2 * h] *= fade;
        sums[n][2 * h + 1] *= fade;
      }
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; n++) {
#pragma unroll
      for (int i = 2 * h; i < 2 * h + 2; i++) {
        scores[n][i] = exp2_quick(fmaf(scores[n][i], log2_scale, -shift));
        rows.total[h] += scores[n][i];
      }
    }
  }
}

// Turns products with the keys from `start` on into the arguments of the softmax. Scores without soft-cap and ALiBi
// are scaled later, within the exponential. Scores of keys that a row does not see become -infinity.
template <int kKeys, class T>
__device__ __forceinline__ void finish_scores(const Task<T>& task, const int (&position)[kHalves],
                                              const float (&slope)[kHalves], int start, bool plain, float scale,
                                              float soft_cap, float (&scores)[kKeys / 8][4]) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;  // the lane's columns of every eight: pair and the next
#pragma unroll
  for (int n = 0; n < kKeys / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = start + n * 8 + pair + i % 2;
      float& s = scores[n][i];
      if (!plain) {
        s *= scale;
        if (soft_cap != 0) {
          // tanh(x) = 1 - 2 / (exp(2x) + 1)
          s = soft_cap - __fdividef(2 * soft_cap, exp2_quick(__fdividef(2 * kLog2E * s, soft_cap)) + 1);
        }
        s += slope[i / 2] * static_cast<float>(key - position[i / 2]);
      }
      s = task.sees(position[i / 2], key) ? s : -infinity();
    }
  }
}

// Adds the infinite and NaN values that drop_infinite replaced by 0, of `keys` values from `start` on. A weight is above
// 0, so that its product with such a value is that value.
template <class T, int kWidth>
__device__ __forceinline__ void add_left_out(const Task<T>& task, const int (&position)[kHalves], int start, int keys,
                                             float (&sums)[kWidth / 8][4]) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
  for (int key = start; key < start + keys; key++) {
    const T* const value = task.value + task.key_offset(key);
#pragma unroll
    for (int n = 0; n < kWidth / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int column = n * 8 + pair + i % 2;
        if (column < task.width && task.sees(position[i / 2], key)) {
          const float x = widen(value[column]);
          if (!(fabsf(x) < infinity())) {
            sums[n][i] += x;
          }
        }
      }
    }
  }
}

// The kernel with kKeys keys in shared memory at a time. The values arrive while the scores are computed, and the next
// keys while the values are weighed.
template <class T, int kWidth, int kKeys, int kTiles>
__device__ __forceinline__ void attend(const Task<T>& task, float* log_sums, const float* sinks, const float* alibi,
                                       float scale, float soft_cap) {
  const int first = task.first_row(kRows);
  if (first >= task.rows) {
    return;
  }
  const int last = min(first + kRows, task.rows) - 1;
  LACO_DYNAMIC_SHARED(T, shared);
  T* const queries = shared;                 // [kRows, kWidth], swizzled
  T* const keys = queries + kRows * kWidth;  // [kKeys, kWidth]
  T* const values = keys + kKeys * kWidth;   // [kKeys, kWidth]
  // Of each row its entry in a table [tokens, heads], and its position. 2^31 entries would take 128 GB of queries and as
  // much for the result. These two arrays fill what two blocks of width 128 leave of a multiprocessor's 100 KB.
  __shared__ int entries[kRows];
  __shared__ int positions[kRows];

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  constexpr int kRowsOfWarp = kTiles * kTileRows;
  const int in_block = static_cast<int>(threadIdx.x) / kWarp * kRowsOfWarp;
  // The lane's first row in the block; its others are 8 further on, and likewise in further tiles.
  const int own_row = in_block + lane / 4;
  Pieces<T, kWidth> query_pieces(queries, in_block + lane % 16, lane / 16 * 8);
  const Pieces<T, kWidth> key_pieces(keys, lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
  const Pieces<T, kWidth> value_pieces(values, lane % 16, lane / 16 * 8);

  if (threadIdx.x < kRows) {
    // Rows beyond the last one compute what the last one computes; in a warp that has no rows they see no keys.
    const int row = first + static_cast<int>(threadIdx.x), real = min(row, last);
    entries[threadIdx.x] = static_cast<int>(task.entry(real));
    positions[threadIdx.x] = row - row % kRowsOfWarp <= last ? task.position(real) : -1;
  }
  const bool vectors = aligned(task.key, 16) && aligned(task.value, 16);
  const int begin = task.seen_from(first), end = task.seen_to(last);
  using Tile = Copies<T, kWidth, kKeys, kThreads<kTiles>>;
  // Copies the keys, or values, from `start` on; beyond the end the last one again, which no row sees.
  auto ask = [&](T* tile, const T* from, int start) {
    from += task.key_offset(start);
    const int final = end - 1 - start;
    Tile::ask(tile, [&](int row) { return from + min(row, final) * task.key_stride; }, task.width, vectors);
  };
  ask(keys, task.key, begin);
  __syncthreads();
#pragma unroll 1
  for (int row = 0; row < kRows; row += kRows / 2) {
    Transit<T, kWidth, kRows / 2, kThreads<kTiles>> half;
    half.ask([&](int i) { return task.query + task.offset_of(entries[row + i]); }, task.width, aligned4(task.query));
    half.put(queries + row * kWidth);
  }
  wait_copies<0>();
  __syncthreads();

  uint32_t held[kWidth / 16][4] = {};
  if constexpr (kHeld<kWidth, kTiles>) {
#pragma unroll
    for (int k = 0; k < kWidth / 16; k++) {
      query_pieces.template load<false>(held[k], 0, k * 16);
    }
  }
  float sums[kTiles][kWidth / 8][4] = {};

  // Soft-cap and ALiBi need scaled scores; others are scaled within the exponential.
  const bool plain = soft_cap == 0 && alibi == nullptr;
  Rows rows[kTiles];
#pragma unroll
  for (int t = 0; t < kTiles; t++) {
#pragma unroll
    for (int h = 0; h < kHalves; h++) {
      const int row = min(first + own_row + t * kTileRows + 8 * h, last);
      rows[t].most[h] = task.sink(sinks, row) / (plain ? scale : 1);
      rows[t].total[h] = sinks != nullptr && lane % 4 == 0 ? 1 : 0;
    }
  }
  const float log2_scale = plain ? scale * kLog2E : kLog2E;
  const int all_to = task.seen_to(first);  // all rows of the block see keys [end - window, all_to)

  for (int start = begin; start < end; start += kKeys) {
    const bool seen = start <= positions[in_block + kRowsOfWarp - 1] &&
                      start + kKeys > positions[in_block] + 1 - task.window;
    // Where not all rows see all keys, a weight of 0 must not be multiplied by a value that is NaN or infinite.
    const bool in_part = start < end - task.window || start + kKeys > all_to;
    float scores[kTiles][kKeys / 8][4] = {};
    ask(values, task.value, start);
    if (seen) {
      asm volatile("" : "+r"(query_pieces.vector));  // addresses do not wait in registers for the next keys
      score<T, kWidth, kKeys, kTiles>(query_pieces, held, key_pieces, scores);
    }
    wait_copies<0>();
    bool left_out = in_part && Tile::drop_infinite(values);
    left_out = __syncthreads_or(left_out) != 0;

    if (start + kKeys < end) {
      ask(keys, task.key, start + kKeys);
    }
    if (seen) {
#pragma unroll
      for (int t = 0; t < kTiles; t++) {
        if (!plain || in_part) {
          const int row = own_row + t * kTileRows;
          const int position[kHalves] = {positions[row], positions[row + 8]};
          const float slope[kHalves] = {task.slope_of(alibi, entries[row]), task.slope_of(alibi, entries[row + 8])};
          finish_scores<kKeys>(task, position, slope, start, plain, scale, soft_cap, scores[t]);
        }
        soften<kWidth, kKeys>(scores[t], log2_scale, rows[t], sums[t]);
      }
      weigh<T, kWidth, kKeys, kTiles>(scores, value_pieces, sums);
    }
    if (seen && left_out) {
#pragma unroll
      for (int t = 0; t < kTiles; t++) {
        const int row = own_row + t * kTileRows;
        const int position[kHalves] = {positions[row], positions[row + 8]};
        add_left_out<T, kWidth>(task, position, start, min(kKeys, end - start), sums[t]);
      }
    }
    wait_copies<0>();
    __syncthreads();
  }

#pragma unroll
  for (int t = 0; t < kTiles; t++) {
#pragma unroll
    for (int h = 0; h < kHalves; h++) {
      const int row = own_row + t * kTileRows + 8 * h;
      float total = rows[t].total[h];
      total += __shfl_xor_sync(~0u, total, 1);
      total += __shfl_xor_sync(~0u, total, 2);
      const float inverse = 1 / total;
      if (first + row <= last) {
        if (log_sums != nullptr && lane % 4 == 0) {
          log_sums[entries[row]] = rows[t].most[h] * (plain ? scale : 1) + logf(total);
        }
        float* const to = task.out + task.offset_of(entries[row]) + lane % 4 * 2;
        const bool both = aligned(to, 8);
#pragma unroll
        for (int n = 0; n < kWidth / 8; n++) {
          if (n * 8 < task.width) {
            const float2 two = make_float2(sums[t][n][2 * h] * inverse, sums[t][n][2 * h + 1] * inverse);
            if (both) {
              *reinterpret_cast<float2*>(to + n * 8) = two;
            } else {
              to[n * 8] = two.x;
              to[n * 8 + 1] = two.y;
            }
          }
        }
      }
    }
  }
}

}  // namespace tensor_cores
}  // namespace

#define LACO_ATTENTION(name, T, width, keys, tiles, blocks)                                             \
  extern "C" __global__ void __launch_bounds__(tensor_cores::kThreads<tiles>, blocks)                   \
      name(const float* q, const T* k, const T* v, float* out, float* log_sums, const float* sinks,     \
           const int32_t* offsets, const int32_t* key_offsets, const int32_t* past, const float* alibi, \
           int32_t heads, int32_t key_heads, int32_t head_width, int32_t window, float scale,           \
           float soft_cap) {                                                                            \
    const Task<T> task(q, k, v, out, offsets, key_offsets, past, heads, key_heads, head_width, window); \
    tensor_cores::attend<T, width, keys, tiles>(task, log_sums, sinks, alibi, scale, soft_cap);         \
  }                                                                                                     \
  LACO_EXPORT(name)

LACO_ATTENTION(laco_attention_bf16_v2, __nv_bfloat16, 64, 32, 1, 2)
LACO_ATTENTION(laco_attention_bf16_v3, __nv_bfloat16, 128, 32, 2, 2)
LACO_ATTENTION(laco_attention_bf16_v4, __nv_bfloat16, 256, 32, 1, 1)
LACO_ATTENTION(laco_attention_f16_v2, __half, 64, 32, 1, 2)
LACO_ATTENTION(laco_attention_f16_v3, __half, 128, 32, 2, 2)
LACO_ATTENTION(laco_attention_f16_v4, __half, 256, 32, 1, 1)
