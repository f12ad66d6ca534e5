// The gradients of attention over whole sequences (Dao, "FlashAttention-2", 2023, algorithm 2). With the scores s of
// attention.cu, p = exp(s - log_sum), d = gradient . v and common = gradient . out, the gradient by a score is
// p (d - common). From this follow, times the slope of scale and soft-cap, those by queries and keys; p weighs the
// gradients by values.
//
//   laco_attention_gradient_keys_f32_v1       a block takes keys, and reads all rows that see them: gradients by keys and values
//       grid (ceil(longest / 8), key-value heads, sequences)
//   laco_attention_gradient_queries_f32_v1    a block takes rows, and reads the keys that they see: gradients by queries
//       grid (ceil(longest * group / 8), key-value heads, sequences)
//
// Block 128, shared memory 192 * width + 512 bytes with the width rounded up to a multiple of 32: f32 throughout, heads of
// any width up to 512. No result is added to by two blocks. Scores are computed in both: seven products of queries or
// keys, where one kernel would make five and add up gradients of queries in an order that depends on time.
//
// q, out_gradient, q_gradient [tokens, heads * width]; k, v, k_gradient, v_gradient [tokens, key-value heads * width];
// log_sums, commons [tokens, heads]; offsets, key_offsets, past, alibi, window, scale, soft_cap as in attention.cu, past
// being 0. What a row does not see has no part in its gradients, and it has none in those of that.
#include "attention.cuh"

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
