// The gradients of attention over whole sequences (Dao, "FlashAttention-2", 2023, algorithm 2). With the scores s of
// attention.cu, p = exp(s - log_sum), d = gradient . v and common = gradient . out, the gradient by a score is
// p (d - common). From this follow, times the slope of scale and soft-cap, those by queries and keys; p weighs the
// gradients by values.
//
//   laco_attention_gradient_keys_<v>       a block takes keys, and reads all rows that see them: gradients by keys and values
//       grid (ceil(longest / own), key-value heads, sequences)
//   laco_attention_gradient_queries_<v>    a block takes rows, and reads the keys that they see: gradients by queries
//       grid (ceil(longest * group / own), key-value heads, sequences)
//
//   v          heads                        own    block    shared memory
//   f32_v1     any, up to 512 wide          8      128      192 * width + 512 bytes, the width rounded up to a multiple of 32
//   bf16_v2    multiples of 16, up to 64    64     128      32768 bytes
//   bf16_v3    multiples of 16, up to 128   64     128      65536 bytes
//
// f32_v1 calculates in f32 throughout. The others multiply bf16 on tensor cores; weights and gradients by scores are rounded
// to bf16 as factors, sums are f32. Of 128 columns the sums of two gradients take half of a warp's registers, so that wider
// heads have no such kernel. No result is added to by two blocks. Scores are computed in both kernels: seven products of
// queries or keys, where one kernel would make five and add up gradients of queries in an order that depends on time.
//
// q, out_gradient [tokens, heads * width] and k, v [tokens, key-value heads * width] in the kernel's type; q_gradient,
// k_gradient, v_gradient likewise in f32;
// log_sums, commons [tokens, heads]; offsets, key_offsets, past, alibi, window, scale, soft_cap as in attention.cu, past
// being 0. What a row does not see has no part in its gradients, and it has none in those of that.
#include "attention.cuh"
#include "attention_tiles.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 128;
constexpr int kOwn = 8;  // rows, or keys, of a block
constexpr int kOwnOfWarp = kOwn / (kThreads / kWarp);
constexpr int kOthers = kWarp;  // keys, or rows, at a time: one for each lane
constexpr int kMostColumns = 512;
constexpr int kSums = kMostColumns / kWarp;

// What scores become, and what the gradients by them are.
struct Scores {
  float scale, soft_cap;

  // p, and the gradient by the product of query and key.
  __device__ __forceinline__ void differentiate(float product, float distance, float log_sum, float by_weight,
                                                float common, float& weight, float& by_product) const {
    float score = product * scale;
    float slope = scale;
    if (soft_cap != 0) {
      const float share = tanhf(score / soft_cap);
      score = soft_cap * share;
      slope *= 1 - share * share;
    }
    weight = expf(score + distance - log_sum);
    by_product = weight * (by_weight - common) * slope;
  }
};

// The memory of a block: two matrices of its own rows, and one of others.
struct Tiles {
  float* first;    // [kOwn, columns]
  float* second;   // [kOwn, columns]
  float* others;   // [kOthers, stride]
  int columns;
  int stride;      // four more than a multiple of the 32 banks: see attention.cu
  bool vectors;

  __device__ Tiles(float* shared, int width, bool aligned)
      : first(shared), columns((width + kWarp - 1) / kWarp * kWarp), stride(columns + 4), vectors(width % 4 == 0 && aligned) {
    second = first + kOwn * columns;
    others = second + kOwn * columns;
  }

  template <class RowAt>
  __device__ void put_own(float* to, int rows, int width, RowAt row_at) const {
    copy_rows<kThreads>(row_at, rows, width, vectors, to, columns, columns);
  }

  // Waits until nobody reads the others that were there before, and until they are there.
  template <class RowAt>
  __device__ void put_others(int rows, int width, RowAt row_at) const {
    __syncthreads();
    copy_rows<kThreads>(row_at, rows, width, vectors, others, columns, stride);
    __syncthreads();
  }

  // The products of the warp's own rows with the lane's other one.
  __device__ void multiply(const float* own, int width, float (&products)[kOwnOfWarp]) const {
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int r = 0; r < kOwnOfWarp; r++) {
      products[r] = 0;
    }
    for (int c = 0; c < width; c += 4) {
      const float4 other = load4(others + lane * stride + c);
#pragma unroll
      for (int r = 0; r < kOwnOfWarp; r++) {
        const float4 mine = load4(own + (warp * kOwnOfWarp + r) * columns + c);
        products[r] = fmaf(mine.x, other.x, products[r]);
        products[r] = fmaf(mine.y, other.y, products[r]);
        products[r] = fmaf(mine.z, other.z, products[r]);
        products[r] = fmaf(mine.w, other.w, products[r]);
      }
    }
  }

  // sums += factors others, a lane for every 32nd column; `seen` has a bit for every other row with a part in it.
  __device__ void add(const float (&factors)[kOwnOfWarp], const uint32_t (&seen)[kOwnOfWarp], int rows,
                      float (&sums)[kOwnOfWarp][kSums]) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    for (int j = 0; j < rows; j++) {
      float factor[kOwnOfWarp];
#pragma unroll
      for (int r = 0; r < kOwnOfWarp; r++) {
        factor[r] = __shfl_sync(~0u, factors[r], j);
      }
#pragma unroll
      for (int i = 0; i < kSums; i++) {
        if (i * kWarp < columns) {
          const float other = others[j * stride + i * kWarp + lane];
#pragma unroll
          for (int r = 0; r < kOwnOfWarp; r++) {
            if (seen[r] >> j & 1) {
              sums[r][i] = fmaf(factor[r], other, sums[r][i]);
            }
          }
        }
      }
    }
  }
};

__device__ void write(const float (&sums)[kSums], float* to, int width) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int i = 0; i < kSums; i++) {
    if (i * kWarp + lane < width) {
      to[i * kWarp + lane] = sums[i];
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 2)
    laco_attention_gradient_keys_f32_v1(const float* q, const float* k, const float* v, const float* out_gradient,
                                        const float* log_sums, const float* commons, float* k_gradient,
                                        float* v_gradient, const int32_t* offsets, const int32_t* key_offsets,
                                        const int32_t* past, const float* alibi, int32_t heads, int32_t key_heads,
                                        int32_t width, int32_t window, float scale, float soft_cap) {
  const Task<float> task(q, k, v, nullptr, offsets, key_offsets, past, heads, key_heads, width, window);
  const int first = static_cast<int>(blockIdx.x) * kOwn;
  const int all = task.rows / task.group;
  if (first >= all) {
    return;
  }
  const int keys = min(kOwn, all - first);
  const Scores scores = {scale, soft_cap};
  LACO_DYNAMIC_SHARED(float, shared);
  const Tiles tiles(shared, width, aligned4(q) && aligned4(task.key) && aligned4(task.value) && aligned4(out_gradient));
  tiles.put_own(tiles.first, keys, width, [&](int i) { return task.key + task.key_offset(first + i); });
  tiles.put_own(tiles.second, keys, width, [&](int i) { return task.value + task.key_offset(first + i); });

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = first + static_cast<int>(threadIdx.x) / kWarp * kOwnOfWarp;  // the warp's first key
  float key_sums[kOwnOfWarp][kSums] = {}, value_sums[kOwnOfWarp][kSums] = {};

  // Rows that see a key are those of its position and of the window - 1 behind it.
  const int behind = min(task.window - 1, all - 1);
  const int end = min(all, first + keys + behind) * task.group;
  for (int start = first * task.group; start < end; start += kOthers) {
    const int rows = min(kOthers, end - start);
    const int row = min(start + lane, end - 1);
    auto query = [&](int i) { return q + task.offset(start + i); };
    auto gradient = [&](int i) { return out_gradient + task.offset(start + i); };

    float products[kOwnOfWarp], by_weight[kOwnOfWarp], weight[kOwnOfWarp];
    uint32_t seen[kOwnOfWarp];
    tiles.put_others(rows, width, query);
    tiles.multiply(tiles.first, width, products);
    tiles.put_others(rows, width, gradient);
    tiles.multiply(tiles.second, width, by_weight);
    const int position = task.position(row);
    const float slope = task.slope(alibi, row);
    const float log_sum = log_sums[task.entry(row)], common = commons[task.entry(row)];
#pragma unroll
    for (int r = 0; r < kOwnOfWarp; r++) {
      const int key = own + r;
      seen[r] = __ballot_sync(~0u, lane < rows && r + own < first + keys && task.sees(position, key));
      scores.differentiate(products[r], slope * static_cast<float>(key - position), log_sum, by_weight[r], common,
                           weight[r], products[r]);
    }
    tiles.add(weight, seen, rows, value_sums);
    tiles.put_others(rows, width, query);
    tiles.add(products, seen, rows, key_sums);
  }
#pragma unroll
  for (int r = 0; r < kOwnOfWarp; r++) {
    if (own + r < first + keys) {
      const int64_t to = task.key - k + task.key_offset(own + r);
      write(key_sums[r], k_gradient + to, width);
      write(value_sums[r], v_gradient + to, width);
    }
  }
}
LACO_EXPORT(laco_attention_gradient_keys_f32_v1)

extern "C" __global__ void __launch_bounds__(kThreads, 2)
    laco_attention_gradient_queries_f32_v1(const float* q, const float* k, const float* v, const float* out_gradient,
                                           const float* log_sums, const float* commons, float* q_gradient,
                                           const int32_t* offsets, const int32_t* key_offsets, const int32_t* past,
                                           const float* alibi, int32_t heads, int32_t key_heads, int32_t width,
                                           int32_t window, float scale, float soft_cap) {
  const Task<float> task(q, k, v, nullptr, offsets, key_offsets, past, heads, key_heads, width, window);
  const int first = task.first_row(kOwn);
  if (first >= task.rows) {
    return;
  }
  const int rows = min(kOwn, task.rows - first);
  const Scores scores = {scale, soft_cap};
  LACO_DYNAMIC_SHARED(float, shared);
  const Tiles tiles(shared, width, aligned4(q) && aligned4(task.key) && aligned4(task.value) && aligned4(out_gradient));
  tiles.put_own(tiles.first, rows, width, [&](int i) { return q + task.offset(first + i); });
  tiles.put_own(tiles.second, rows, width, [&](int i) { return out_gradient + task.offset(first + i); });

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = first + static_cast<int>(threadIdx.x) / kWarp * kOwnOfWarp;  // the warp's first row
  int position[kOwnOfWarp];
  float slope[kOwnOfWarp], log_sum[kOwnOfWarp], common[kOwnOfWarp];
  float sums[kOwnOfWarp][kSums] = {};
#pragma unroll
  for (int r = 0; r < kOwnOfWarp; r++) {
    const int row = min(own + r, first + rows - 1);
    position[r] = task.position(row);
    slope[r] = task.slope(alibi, row);
    log_sum[r] = log_sums[task.entry(row)];
    common[r] = commons[task.entry(row)];
  }

  const int end = task.seen_to(first + rows - 1);
  for (int start = task.seen_from(first); start < end; start += kOthers) {
    const int keys = min(kOthers, end - start);
    float products[kOwnOfWarp], by_weight[kOwnOfWarp];
    uint32_t seen[kOwnOfWarp];
    tiles.put_others(keys, width, [&](int i) { return task.value + task.key_offset(start + i); });
    tiles.multiply(tiles.second, width, by_weight);
    tiles.put_others(keys, width, [&](int i) { return task.key + task.key_offset(start + i); });
    tiles.multiply(tiles.first, width, products);
    const int key = start + lane;
#pragma unroll
    for (int r = 0; r < kOwnOfWarp; r++) {
      seen[r] = __ballot_sync(~0u, task.sees(position[r], key));
      float weight;
      scores.differentiate(products[r], slope[r] * static_cast<float>(key - position[r]), log_sum[r], by_weight[r],
                           common[r], weight, products[r]);
    }
    tiles.add(products, seen, keys, sums);
  }
#pragma unroll
  for (int r = 0; r < kOwnOfWarp; r++) {
    if (own + r < first + rows) {
      write(sums[r], q_gradient + task.offset(own + r), width);
    }
  }
}
LACO_EXPORT(laco_attention_gradient_queries_f32_v1)

namespace {

// ---- tensor cores

namespace tensor_cores {

using T = __nv_bfloat16;

constexpr int kThreads = 128;
constexpr int kOwn = 64;        // rows, or keys, of a block
constexpr int kOwnOfWarp = 16;  // of a product
constexpr int kOthers = 32;     // keys, or rows, at a time
constexpr int kBuffers = 2;     // one for the products, and one that is being filled

// What is known of a row besides its vectors.
struct Row {
  float log_sum, common, slope;
  int position;
};

// products = own others^T, of 16 rows from the tile's row `own_row` on and kOthers rows from `row` on.
template <int kWidth>
__device__ __forceinline__ void multiply(const Pieces<T, kWidth>& own, int own_row, const Pieces<T, kWidth>& others,
                                         int row, float (&products)[kOthers / 8][4]) {
#pragma unroll
  for (int n = 0; n < kOthers / 8; n++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      products[n][i] = 0;
    }
  }
#pragma unroll
  for (int k = 0; k < kWidth / 16; k++) {
    uint32_t left[4];
    own.template load<false>(left, own_row, k * 16);
#pragma unroll
    for (int n = 0; n < kOthers / 16; n++) {
      uint32_t right[4];
      others.template load<false>(right, row + n * 16, k * 16);
      multiply_add<T>(products[2 * n], left, right[0], right[1]);
      multiply_add<T>(products[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// sums += factors others.
template <int kWidth>
__device__ __forceinline__ void add(const float (&factors)[kOthers / 8][4], const Pieces<T, kWidth>& others, int row,
                                    float (&sums)[kWidth / 8][4]) {
#pragma unroll
  for (int k = 0; k < kOthers / 16; k++) {
    // Sixteen columns in the layout of d are in the layout of a, too.
    const float(&low)[4] = factors[2 * k], (&high)[4] = factors[2 * k + 1];
    const uint32_t left[4] = {narrow_two<T>(low[0], low[1]), narrow_two<T>(low[2], low[3]),
                              narrow_two<T>(high[0], high[1]), narrow_two<T>(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < kWidth / 16; n++) {
      uint32_t right[4];
      others.template load<true>(right, row + k * 16, n * 16);
      multiply_add<T>(sums[2 * n], left, right[0], right[1]);
      multiply_add<T>(sums[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// The same where some of the others are not finite: their products with own rows that they have no part in, whose bits
// in `seen` are 0, are left out. A bit stands for a factor of the lane: bit 4 n + i for factors[n][i].
template <int kWidth>
__device__ __forceinline__ void add_seen(const float (&factors)[kOthers / 8][4], uint32_t seen, const T* others,
                                         float (&sums)[kWidth / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, pair = lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kOthers / 8; n++) {
#pragma unroll 1
    for (int from = 0; from < 4; from++) {
      const uint32_t bits = __shfl_sync(~0u, seen, lane - lane % 4 + from);
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int row = n * 8 + from * 2 + j;
        float factor[kHalves];
#pragma unroll
        for (int h = 0; h < kHalves; h++) {
          factor[h] = __shfl_sync(~0u, factors[n][2 * h + j], lane - lane % 4 + from);
        }
#pragma unroll
        for (int m = 0; m < kWidth / 8; m++) {
          const float2 two = widen_two<T>(
              *reinterpret_cast<const uint32_t*>(others + swizzled<kWidth>(row, m * 8 + pair)));
#pragma unroll
          for (int h = 0; h < kHalves; h++) {
            if (bits >> (4 * n + 2 * h + j) & 1) {
              sums[m][2 * h] = fmaf(factor[h], two.x, sums[m][2 * h]);
              sums[m][2 * h + 1] = fmaf(factor[h], two.y, sums[m][2 * h + 1]);
            }
          }
        }
      }
    }
  }
}

// The work of a block: gradients by its own keys and values, or by its own queries.
template <int kWidth, bool kOfKeys>
__device__ __forceinline__ void differentiate(const Task<T>& task, const T* q, const T* k, const T* v, const T* by_out,
                                              const float* log_sums, const float* commons, const float* alibi,
                                              float scale, float soft_cap, float* by_first, float* by_second) {
  const int all = kOfKeys ? task.rows / task.group : task.rows;
  const int first = kOfKeys ? static_cast<int>(blockIdx.x) * kOwn : task.first_row(kOwn);
  if (first >= all) {
    return;
  }
  const int last = min(first + kOwn, all) - 1;
  auto of_key = [&](const T* from, int i) { return from + task.key_offset(i); };
  auto of_row = [&](const T* from, int i) { return from + task.offset(i); };

  // Swizzled tiles of rows of kWidth: keys and values of the block, or queries and gradients, kOwn each; and in each buffer
  // kOthers of the one and of the other.
  LACO_DYNAMIC_SHARED(T, shared);
  constexpr int kTile = kOthers * kWidth;
  T* const others = shared + 2 * kOwn * kWidth;
  __shared__ Row rows[kBuffers][kOthers];

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int in_block = static_cast<int>(threadIdx.x) / kWarp * kOwnOfWarp;
  const int pair = lane % 4 * 2;  // the lane's columns of every eight: pair and the next
  Pieces<T, kWidth> own_pieces(shared, in_block + lane % 16, lane / 16 * 8);
  // The others as the right factor of products with each of them, and of sums over all of them.
  Pieces<T, kWidth> pieces(others, lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
  Pieces<T, kWidth> pieces_to_add(others, lane % 16, lane / 16 * 8);

  auto row = [&](int i) {
    const int64_t entry = task.entry(i);
    return Row{log_sums[entry], commons[entry], task.slope(alibi, i), task.position(i)};
  };
  const int behind = min(task.window - 1, task.rows / task.group - 1);
  // The others that have a part in the gradients.
  const int begin = kOfKeys ? first * task.group : task.seen_from(first);
  const int end = kOfKeys ? (min(all - 1, last + behind) + 1) * task.group : task.seen_to(last);
  const bool vectors = aligned(q, 16) && aligned(k, 16) && aligned(v, 16) && aligned(by_out, 16);
  // Rows beyond the last one are the last one again, and see nothing.
  auto ask = [&](int start, int buffer) {
    const int final = end - 1 - start;
    using Tile = Copies<T, kWidth, kOthers, kThreads>;
    T* const to = others + 2 * buffer * kTile;
    if constexpr (kOfKeys) {
      Tile::ask(to, [&](int i) { return of_row(q, start + min(i, final)); }, task.width, vectors);
      Tile::ask(to + kTile, [&](int i) { return of_row(by_out, start + min(i, final)); }, task.width, vectors);
      if (threadIdx.x < kOthers) {
        const int i = static_cast<int>(threadIdx.x);
        Row one = row(start + min(i, final));
        one.position = i <= final ? one.position : -1;
        rows[buffer][i] = one;
      }
    } else {
      Tile::ask(to, [&](int i) { return of_key(task.key, start + min(i, final)); }, task.width, vectors);
      Tile::ask(to + kTile, [&](int i) { return of_key(task.value, start + min(i, final)); }, task.width, vectors);
    }
  };
  using OwnTile = Copies<T, kWidth, kOwn, kThreads>;
  T* const own_second = shared + kOwn * kWidth;
  if constexpr (kOfKeys) {
    OwnTile::ask(shared, [&](int i) { return of_key(task.key, min(first + i, last)); }, task.width, vectors);
    OwnTile::ask(own_second, [&](int i) { return of_key(task.value, min(first + i, last)); }, task.width, vectors);
  } else {
    OwnTile::ask(shared, [&](int i) { return of_row(q, min(first + i, last)); }, task.width, vectors);
    OwnTile::ask(own_second, [&](int i) { return of_row(by_out, min(first + i, last)); }, task.width, vectors);
  }
  ask(begin, 0);

  // The lane's own two, 8 apart.
  const int own = first + in_block + lane / 4;
  Row own_rows[kHalves];
  if constexpr (!kOfKeys) {
#pragma unroll
    for (int h = 0; h < kHalves; h++) {
      own_rows[h] = row(min(own + 8 * h, last));
    }
  }
  const int warp_first = first + in_block, warp_last = min(warp_first + kOwnOfWarp - 1, last);
  float first_sums[kWidth / 8][4] = {}, second_sums[kOfKeys ? kWidth / 8 : 1][4] = {};

  int buffer = 0;
  for (int start = begin; start < end; start += kOthers) {
    wait_copies<0>();
    // Where not all see each other, a factor of 0 must not be multiplied by an element that is NaN or infinite.
    const int tile_last = min(start + kOthers, end) - 1;
    const bool in_part =
        start + kOthers > end ||
        (kOfKeys ? task.position(start) < last || task.position(tile_last) - first >= task.window
                 : start < end - task.window || tile_last >= task.seen_to(first));
    using Tile = Copies<T, kWidth, kOthers, kThreads>;
    T* const tile = others + 2 * buffer * kTile;
    const bool infinite = in_part && (Tile::has_infinite(tile) || Tile::has_infinite(tile + kTile));
    // The tile is there for all, and nobody reads the one before any more.
    const bool careful = __syncthreads_or(infinite) != 0;
    if (start + kOthers < end) {
      ask(start + kOthers, buffer ^ 1);
    }
    const bool sees =
        warp_first <= last &&
        (kOfKeys ? warp_first <= task.position(tile_last) && task.position(start) - warp_last < task.window
                 : start <= task.position(warp_last) && tile_last > task.position(warp_first) - task.window);
    if (sees) {
      float products[kOthers / 8][4], by_weight[kOthers / 8][4];
      const int tile_row = 2 * buffer * kOthers;
      // Addresses do not wait in registers for the next tile.
      asm volatile("" : "+r"(own_pieces.vector), "+r"(pieces.vector), "+r"(pieces_to_add.vector));
      multiply<kWidth>(own_pieces, 0, pieces, tile_row, products);
      multiply<kWidth>(own_pieces, kOwn, pieces, tile_row + kOthers, by_weight);
      uint32_t seen = 0;
#pragma unroll
      for (int n = 0; n < kOthers / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int other = n * 8 + pair + i % 2;
          const Row of = kOfKeys ? rows[buffer][other] : own_rows[i / 2];
          const int key = kOfKeys ? own + i / 2 * 8 : start + other;
          float score = products[n][i] * scale;
          float slope = scale;
          if (soft_cap != 0) {
            // tanh(x) = 1 - 2 / (exp(2x) + 1)
            const float share = 1 - __fdividef(2.0f, exp2_quick(__fdividef(2 * kLog2E * score, soft_cap)) + 1);
            score = soft_cap * share;
            slope *= 1 - share * share;
          }
          score += of.slope * static_cast<float>(key - of.position);
          const float weight = exp2_quick((score - of.log_sum) * kLog2E);
          const bool both = task.sees(of.position, key);
          seen |= (both ? 1u : 0u) << (4 * n + i);
          products[n][i] = both ? weight * (by_weight[n][i] - of.common) * slope : 0;
          by_weight[n][i] = both ? weight : 0;
        }
      }
      if (careful) {
        add_seen<kWidth>(products, seen, tile, first_sums);
        if constexpr (kOfKeys) {
          add_seen<kWidth>(by_weight, seen, tile + kTile, second_sums);
        }
      } else {
        add<kWidth>(products, pieces_to_add, tile_row, first_sums);
        if constexpr (kOfKeys) {
          add<kWidth>(by_weight, pieces_to_add, tile_row + kOthers, second_sums);
        }
      }
    }
    buffer ^= 1;
  }

#pragma unroll
  for (int h = 0; h < kHalves; h++) {
    if (own + 8 * h <= last) {
      const int64_t to = (kOfKeys ? task.key - k + task.key_offset(own + 8 * h) : task.offset(own + 8 * h)) + pair;
      auto write = [&](const auto& sums, float* out) {
        const bool both = aligned(out + to, 8);
#pragma unroll
        for (int n = 0; n < kWidth / 8; n++) {
          if (n * 8 < task.width) {
            if (both) {
              *reinterpret_cast<float2*>(out + to + n * 8) = make_float2(sums[n][2 * h], sums[n][2 * h + 1]);
            } else {
              out[to + n * 8] = sums[n][2 * h];
              out[to + n * 8 + 1] = sums[n][2 * h + 1];
            }
          }
        }
      };
      write(first_sums, by_first);
      if constexpr (kOfKeys) {
        write(second_sums, by_second);
      }
    }
  }
}

}  // namespace tensor_cores
}  // namespace

#define LACO_ATTENTION_GRADIENT(version, head_columns, key_blocks, query_blocks)                                                       \
  extern "C" __global__ void __launch_bounds__(tensor_cores::kThreads, key_blocks)                                         \
      laco_attention_gradient_keys_bf16_##version(                                                                     \
          const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, const __nv_bfloat16* out_gradient,   \
          const float* log_sums, const float* commons, float* k_gradient, float* v_gradient, const int32_t* offsets,   \
          const int32_t* key_offsets, const int32_t* past, const float* alibi, int32_t heads, int32_t key_heads,       \
          int32_t width, int32_t window, float scale, float soft_cap) {                                                \
    const Task<__nv_bfloat16> task(nullptr, k, v, nullptr, offsets, key_offsets, past, heads, key_heads, width, window); \
    tensor_cores::differentiate<head_columns, true>(task, q, k, v, out_gradient, log_sums, commons, alibi, scale,      \
                                                    soft_cap, k_gradient, v_gradient);                                 \
  }                                                                                                                    \
  LACO_EXPORT(laco_attention_gradient_keys_bf16_##version)                                                             \
  extern "C" __global__ void __launch_bounds__(tensor_cores::kThreads, query_blocks)                                         \
      laco_attention_gradient_queries_bf16_##version(                                                                  \
          const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, const __nv_bfloat16* out_gradient,   \
          const float* log_sums, const float* commons, float* q_gradient, const int32_t* offsets,                      \
          const int32_t* key_offsets, const int32_t* past, const float* alibi, int32_t heads, int32_t key_heads,       \
          int32_t width, int32_t window, float scale, float soft_cap) {                                                \
    const Task<__nv_bfloat16> task(nullptr, k, v, nullptr, offsets, key_offsets, past, heads, key_heads, width, window); \
    tensor_cores::differentiate<head_columns, false>(task, q, k, v, out_gradient, log_sums, commons, alibi, scale,     \
                                                     soft_cap, q_gradient, nullptr);                                   \
  }                                                                                                                    \
  LACO_EXPORT(laco_attention_gradient_queries_bf16_##version)

LACO_ATTENTION_GRADIENT(v2, 64, 2, 3)
LACO_ATTENTION_GRADIENT(v3, 128, 2, 2)
