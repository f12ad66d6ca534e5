// Linear attention by the gated delta rule within each sequence (Yang et al., "Gated Delta Networks", 2025, eq. 10). Each
// value head has a state S [key, value]; with query q, key k, value v of a token, the share a that is kept and the rate b:
//   S = a S,  e = v - S^T k,  S = S + b k e^T,  out = S^T q.
// Queries and keys are divided by their lengths before.
//
//   laco_gated_delta_f32_v1    keys up to 256 wide
//
// Columns of a state do not depend on each other. A warp has eight of them in registers, from the first token of a sequence
// to the last, or half of their rows where keys are more than 128 wide: then two warps add up their products in shared memory.
// A block has 32 columns, or 16, and brings the numbers of a few tokens into shared memory at a time. Some 6 key operations
// per value, one token after the other.
#include "gated_delta.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTokens = 8;  // in shared memory

// The tensors of a kernel.
struct Inputs {
  const float *heads, *decay, *rate, *log_decay, *decay_bias;
  const int32_t *offsets, *past, *key_offsets;
};

using Tile = StateTile<2>;
constexpr int kColumns = Tile::kWidth / 4;
constexpr int kBlockColumns = kWarps * Tile::kWidth;

__device__ __forceinline__ void attend(const Inputs& in, const DeltaHeads& dims, float* states, int32_t capacity, float* out,
                                       float* errors) {
  alignas(16) __shared__ float queries[kTokens][kMostKey];
  alignas(16) __shared__ float keys[kTokens][kMostKey];
  __shared__ float values[kTokens][kBlockColumns];
  __shared__ float kept[kTokens], rates[kTokens];
  __shared__ float scratch[2][kWarps][Tile::kWidth];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int head = static_cast<int>(blockIdx.y), sequence = static_cast<int>(blockIdx.z);
  const int blocks = (dims.key + kBlockRows - 1) / kBlockRows, padded = blocks * kBlockRows;
  const int first_row = warp % blocks * kBlockRows;
  const int first_column = static_cast<int>(blockIdx.x) * (kBlockColumns / blocks);
  const int own = warp / blocks * Tile::kWidth + Tile::column();  // the lane's first column of the block's
  const int columns = dims.value - first_column;                  // that are there from the block's first on
  const int64_t first = in.offsets[sequence], end = in.offsets[sequence + 1];
  const HeadPlace at(dims, head);

  float* const state = states == nullptr ? nullptr
                                         : states + (in.key_offsets[sequence] / capacity * dims.value_heads + head) *
                                                        (static_cast<int64_t>(dims.key) * dims.value) +
                                               first_column + own;
  const bool has_past = state != nullptr && in.past[sequence] > 0;
  Tile tile;
  tile.fill([&](int r, int c) {
    const int row = first_row + Tile::row(r);
    return has_past && row < dims.key && own + c < columns ? state[row * dims.value + c] : 0.0f;
  });

#pragma unroll 1
  for (int64_t start = first; start < end; start += kTokens) {
    const int count = static_cast<int>(min(end - start, static_cast<int64_t>(kTokens)));
#pragma unroll 1
    for (int j = warp; j < count; j += kWarps) {
      const int64_t token = start + j;
      const float* const from = in.heads + token * at.row;
      put_unit(from + at.query, dims.key, rsqrtf(static_cast<float>(dims.key)), 0, padded, queries[j]);
      put_unit(from + at.key, dims.key, 1.0f, 0, padded, keys[j]);
      put_columns(from + at.value + first_column, columns, kBlockColumns, values[j]);
      if (Tile::lane() == 0) {
        const int64_t scalar = token * at.scalars + at.scalar;
        kept[j] = expf(log_share(in.decay[scalar] + in.decay_bias[head], in.log_decay[head]));
        rates[j] = logistic(in.rate[scalar]);
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int j = 0; j < count; j++) {
      const float share = kept[j], rate = rates[j];
      float found[kColumns] = {};
      Tile::for_rows(keys[j] + first_row, [&](int r, float k) {
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          tile.at[r][c] *= share;
          found[c] = fmaf(tile.at[r][c], k, found[c]);
        }
      });
      Tile::sum_rows(found);
      Tile::sum_blocks(found, blocks, scratch[0]);
      float error[kColumns], written[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        error[c] = values[j][own + c] - found[c];
        written[c] = rate * error[c];
      }
      // Not where there is no row: an infinite error would make NaN of it.
      Tile::for_rows(keys[j] + first_row, [&](int r, float k) {
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          tile.at[r][c] = first_row + Tile::row(r) < dims.key ? fmaf(k, written[c], tile.at[r][c]) : 0.0f;
        }
      });
      float results[kColumns] = {};
      Tile::for_rows(queries[j] + first_row, [&](int r, float q) {
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          results[c] = fmaf(tile.at[r][c], q, results[c]);
        }
      });
      Tile::sum_rows(results);
      Tile::sum_blocks(results, blocks, scratch[1]);
      const int64_t to = (start + j) * at.values + at.result + first_column + own;
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        if (first_row == 0 && Tile::lane() < 4 && own + c < columns) {
          out[to + c] = results[c];
          if (errors != nullptr) {
            errors[to + c] = error[c];
          }
        }
      }
    }
    __syncthreads();
  }
  if (state != nullptr) {
#pragma unroll
    for (int r = 0; r < Tile::kRows; r++) {
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        const int row = first_row + Tile::row(r);
        if (row < dims.key && own + c < columns) {
          state[row * dims.value + c] = tile.at[r][c];
        }
      }
    }
  }
}

}  // namespace

// heads [tokens, (2 key_heads) key + value_heads value]; decay, rate [tokens, value_heads]; log_decay, decay_bias
// [value_heads]; offsets, past, key_offsets as the batch has them. states [slots, value_heads, key, value], or null: those
// behind earlier tokens, of slot key_offset / capacity; become those behind the batch. out, errors [tokens, value_heads
// value], errors null for none.
// grid (ceil(value / 32), value_heads, sequences), of keys more than 128 wide ceil(value / 16).
extern "C" __global__ void __launch_bounds__(kThreads, 4)
    laco_gated_delta_f32_v1(const float* heads, const float* decay, const float* rate, const float* log_decay,
                            const float* decay_bias, const int32_t* offsets, const int32_t* past, const int32_t* key_offsets,
                            float* states, float* out, float* errors, int32_t capacity, int32_t key_heads,
                            int32_t value_heads, int32_t key, int32_t value) {
  attend({heads, decay, rate, log_decay, decay_bias, offsets, past, key_offsets}, {key_heads, value_heads, key, value}, states,
         capacity, out, errors);
}
LACO_EXPORT(laco_gated_delta_f32_v1)
