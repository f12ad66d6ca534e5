// The gradients of the gated delta rule over whole sequences. With the state S and the gradient R by it, and for each token
// unit query q, unit key k, value v, error e, share a, rate b and the gradient o by the result:
//
//   laco_gated_delta_gradient_values_f32_v1   from the last token to the first: the gradient by v is v' = b R^T k, that by b is
//                                             e . R^T k, and that by k as it is written b R e, with R + q o^T for R; then
//                                             R = a (R + q o^T - k v'^T); keys up to 256 wide
//   laco_gated_delta_gradient_keys_f32_v1     from the first token to the last: S = a S; the gradient by k as it is read is
//                                             -S v'; S = S + b k e^T; the gradient by q is S o
//       Some 10 key operations per value each. A block takes a value head of a sequence and 128 columns at a time, of which
//       each of 8 warps has 16 in registers; what its warps have of a sum over columns meets in shared memory. Of keys more
//       than 128 wide, the first kernel has half of the columns at a time and two warps for each, the second one passes twice.
//   laco_gated_delta_gradient_heads_f32_v1    sums of the value heads of a group, and the gradients by queries and keys before
//                                             they were divided by their lengths; 32 bytes per element of a key
//   laco_gated_delta_gradient_decays_f32_v1   the gradients by g = log a: sums over the later tokens of a number for each,
//                                             which the first two kernels find
//
// The gradient by g of token t is <R, S> where a multiplies: the sum over all pairs of a token s < t that was written to the
// state and a token i >= t by which it was read. As t grows by 1, those drop out that t read: q . S o - k . S v' with S in
// front of its write; and those come in that read t: b e . R^T k with R in front of q o^T. So sums over the tokens from t on
// need no second state. What t reads of itself is in neither number: where little of a state is kept, it would leave nothing
// but its rounding.
#include "gated_delta.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

constexpr int kTokens = 4;  // in shared memory
using Tile = StateTile<4>;
constexpr int kRows = Tile::kRows;
constexpr int kColumns = Tile::kWidth / 4;
constexpr int kBlockColumns = kWarps * Tile::kWidth;

// The tensors of a kernel.
struct Inputs {
  const float *heads, *decay, *rate, *log_decay, *decay_bias, *errors, *gradient;
  const int32_t* offsets;
};

// The value head of this block, of those from `first_head` on to which the launch is confined.
struct Place : HeadPlace {
  int key_width, value_width;
  int first, end;  // tokens

  __device__ Place(const DeltaHeads& dims, const int32_t* offsets, int first_head)
      : HeadPlace(dims, first_head + static_cast<int>(blockIdx.x)), key_width(dims.key), value_width(dims.value),
        first(offsets[blockIdx.y]), end(offsets[blockIdx.y + 1]) {}

  __device__ __forceinline__ int64_t scalar_of(int64_t token) const { return token * scalars + scalar; }
  // Of what has a number, or one for each element of a key, for the heads of the launch alone.
  __device__ __forceinline__ int64_t term_of(int64_t token) const { return token * gridDim.x + blockIdx.x; }
};

// What a token and a head have in shared memory, with kWidth rows.
template <int kWidth>
struct Token {
  alignas(16) float query[kWidth];
  alignas(16) float key[kWidth];
  float gradient[kBlockColumns];
  float error[kBlockColumns];
  float by_value[kBlockColumns];
  float query_key, kept, rate;

  // By a warp: the unit query and key from `first` on.
  __device__ __forceinline__ void put_units(const Inputs& in, const Place& at, int64_t token, int first) {
    const float* const from = in.heads + token * at.row;
    put_unit(from + at.query, at.key_width, rsqrtf(static_cast<float>(at.key_width)), first, kWidth, query);
    put_unit(from + at.key, at.key_width, 1.0f, first, kWidth, key);
  }

  // Their product, by the warp that has put them there.
  __device__ __forceinline__ void multiply_units() {
    float product = 0;
#pragma unroll
    for (int k = 0; k < kWidth; k += kWarp) {
      const int i = static_cast<int>(threadIdx.x) % kWarp + k;  // which this lane has written
      product = fmaf(query[i], key[i], product);
    }
    query_key = warp_sum(product);
  }

  // By a warp: the share that is kept, the rate, and the block's columns of gradient and error.
  __device__ __forceinline__ void put_rest(const Inputs& in, const Place& at, int64_t token, int first_column) {
    const int64_t result = token * at.values + at.result + first_column, scalar = at.scalar_of(token);
    const int columns = at.value_width - first_column;
    put_columns(in.gradient + result, columns, kBlockColumns, gradient);
    put_columns(in.errors + result, columns, kBlockColumns, error);
    kept = expf(log_share(in.decay[scalar] + in.decay_bias[at.scalar], in.log_decay[at.scalar]));
    rate = logistic(in.rate[scalar]);
  }
};

// out [tokens, heads of the launch, key], from an element of keys on: adds up what the warps have of each, every `blocks`-th of
// the same rows, with what is there where it `adds`.
__device__ __forceinline__ void add_warps(const float (&parts)[kTokens][kWarps][kBlockRows], const Place& at, int start,
                                          int count, int first, int blocks, bool adds, float* out) {
  constexpr int kStep = kThreads / kTokens;
  const int j = static_cast<int>(threadIdx.x) / kStep;
  const int rows = j < count ? min(at.key_width - first, blocks * kBlockRows) : 0;
  float* const to = out + at.term_of(start + j) * at.key_width + first;
#pragma unroll 1
  for (int row = static_cast<int>(threadIdx.x) % kStep; row < rows; row += kStep) {
    float sum = adds ? to[row] : 0.0f;
    for (int warp = row / kBlockRows; warp < kWarps; warp += blocks) {
      sum += parts[j][warp][row % kBlockRows];
    }
    to[row] = sum;
  }
}

// The sum over the four lanes that have the columns of a row.
__device__ __forceinline__ float sum_columns(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// The sum over what the warps have.
__device__ __forceinline__ float sum_parts(const float (&parts)[kWarps]) {
  float sum = 0;
  for (int warp = 0; warp < kWarps; warp++) {
    sum += parts[warp];
  }
  return sum;
}

__device__ __forceinline__ void values_backward(const Inputs& in, const DeltaHeads& dims, float* heads_gradient,
                                                float* rate_gradient, float* by_keys, float* terms, int first_head) {
  __shared__ Token<kMostKey> tokens[kTokens];
  alignas(16) __shared__ float key_parts[kTokens][kWarps][kBlockRows];
  __shared__ float rate_parts[kTokens][kWarps], read_parts[kTokens][kWarps];
  __shared__ float scratch[2][kWarps][Tile::kWidth];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int blocks = (dims.key + kBlockRows - 1) / kBlockRows;
  const int first_row = warp % blocks * kBlockRows;
  const int block_columns = kBlockColumns / blocks;
  const int own = warp / blocks * Tile::kWidth + Tile::column();  // the lane's first column of the block's
  const Place at(dims, in.offsets, first_head);

#pragma unroll 1
  for (int first_column = 0; first_column < dims.value; first_column += block_columns) {
    const int columns = dims.value - first_column;
    Tile by_state;
    by_state.fill([](int, int) { return 0.0f; });
#pragma unroll 1
    for (int stop = at.end; stop > at.first; stop -= kTokens) {
      const int start = max(stop - kTokens, at.first), count = stop - start;
#pragma unroll 1
      for (int j = warp; j < 2 * count; j += kWarps) {
        if (j % 2 == 0) {
          tokens[j / 2].put_units(in, at, start + j / 2, 0);
          tokens[j / 2].multiply_units();
        } else {
          tokens[j / 2].put_rest(in, at, start + j / 2, first_column);
        }
      }
      __syncthreads();
#pragma unroll 1
      for (int j = count - 1; j >= 0; j--) {
        const Token<kMostKey>& token = tokens[j];
        float by_out[kColumns], written[kColumns], by_written[kColumns] = {};
        float product = 0;
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          by_out[c] = token.gradient[own + c];
          written[c] = token.rate * token.error[own + c];
          product = fmaf(by_out[c], written[c], product);
        }
        float by_key[kRows] = {};
        Tile::for_rows(token.key + first_row, [&](int r, float k) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_written[c] = fmaf(by_state.at[r][c], k, by_written[c]);
            by_key[r] = fmaf(by_state.at[r][c], written[c], by_key[r]);
          }
        });
        Tile::for_rows(token.query + first_row, [&](int r, float q) { by_key[r] = fmaf(q, product, by_key[r]); });
        Tile::put_sums(by_key, key_parts[j][warp]);
        Tile::sum_rows(by_written);
        Tile::sum_blocks(by_written, blocks, scratch[j % 2]);
        float by_rate = 0, read = 0, by_value[kColumns];
        float* const to = heads_gradient + static_cast<int64_t>(start + j) * at.row + at.value + first_column + own;
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          read = fmaf(by_written[c], written[c], read);
          by_written[c] = fmaf(token.query_key, by_out[c], by_written[c]);
          by_rate = fmaf(by_written[c], token.error[own + c], by_rate);
          by_value[c] = token.rate * by_written[c];
          if (first_row == 0 && Tile::lane() < 4 && own + c < columns) {
            to[c] = by_value[c];
          }
        }
        by_rate = sum_columns(by_rate);
        read = sum_columns(read);
        if (Tile::lane() == 0) {
          rate_parts[j][warp] = first_row == 0 ? by_rate : 0.0f;
          read_parts[j][warp] = first_row == 0 ? read : 0.0f;
        }
        Tile::for_rows(token.query + first_row, [&](int r, float q) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_state.at[r][c] = fmaf(q, by_out[c], by_state.at[r][c]);
          }
        });
        Tile::for_rows(token.key + first_row, [&](int r, float k) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_state.at[r][c] = token.kept * fmaf(-k, by_value[c], by_state.at[r][c]);
          }
        });
      }
      __syncthreads();
      // Meanwhile other warps may replace the tokens, but not the parts.
      add_warps(key_parts, at, start, count, 0, blocks, first_column > 0, by_keys);
      if (const int j = static_cast<int>(threadIdx.x); j < count) {
        const int64_t scalar = at.scalar_of(start + j), term = at.term_of(start + j);
        const float by_rate = sum_parts(rate_parts[j]) * (logistic(in.rate[scalar]) * logistic(-in.rate[scalar]));
        const float read = sum_parts(read_parts[j]);
        rate_gradient[scalar] = first_column > 0 ? rate_gradient[scalar] + by_rate : by_rate;
        terms[term] = first_column > 0 ? terms[term] - read : -read;
      }
    }
  }
}

// Rows of the state do not depend on each other here: the block takes 128 at a time.
__device__ __forceinline__ void keys_backward(const Inputs& in, const DeltaHeads& dims, const float* heads_gradient,
                                              float* by_queries, float* by_keys, float* terms, int first_head) {
  __shared__ Token<kBlockRows> tokens[kTokens];
  alignas(16) __shared__ float query_parts[kTokens][kWarps][kBlockRows];
  alignas(16) __shared__ float key_parts[kTokens][kWarps][kBlockRows];
  __shared__ float read_parts[kTokens][kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int own = warp * Tile::kWidth + Tile::column();  // the lane's first column of the block's
  const Place at(dims, in.offsets, first_head);

#pragma unroll 1
  for (int first_row = 0; first_row < dims.key; first_row += kBlockRows) {
#pragma unroll 1
    for (int first_column = 0; first_column < dims.value; first_column += kBlockColumns) {
      Tile state;
      state.fill([](int, int) { return 0.0f; });
#pragma unroll 1
      for (int start = at.first; start < at.end; start += kTokens) {
        const int count = min(at.end - start, kTokens);
#pragma unroll 1
        for (int j = warp; j < 2 * count; j += kWarps) {
          const int64_t token = start + j / 2;
          if (j % 2 == 0) {
            tokens[j / 2].put_units(in, at, token, first_row);
          } else {
            tokens[j / 2].put_rest(in, at, token, first_column);
            put_columns(heads_gradient + token * at.row + at.value + first_column, dims.value - first_column,
                        kBlockColumns, tokens[j / 2].by_value);
          }
        }
        __syncthreads();
#pragma unroll 1
        for (int j = 0; j < count; j++) {
          const Token<kBlockRows>& token = tokens[j];
          float by_out[kColumns], by_value[kColumns], written[kColumns];
          float product = 0;
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_out[c] = token.gradient[own + c];
            by_value[c] = token.by_value[own + c];
            written[c] = token.rate * token.error[own + c];
            product = fmaf(by_out[c], written[c], product);
          }
          float by_query[kRows] = {}, by_key[kRows] = {};
          float read = 0;
          Tile::for_rows(token.key, [&](int r, float k) {
#pragma unroll
            for (int c = 0; c < kColumns; c++) {
              const float before = token.kept * state.at[r][c];
              by_key[r] = fmaf(-before, by_value[c], by_key[r]);
              by_query[r] = fmaf(before, by_out[c], by_query[r]);
              state.at[r][c] = fmaf(k, written[c], before);
            }
            read = fmaf(k, by_key[r], read);
          });
          Tile::put_sums(by_key, key_parts[j][warp]);
          Tile::for_rows(token.query, [&](int r, float q) { read = fmaf(q, by_query[r], read); });
          Tile::for_rows(token.key, [&](int r, float k) { by_query[r] = fmaf(k, product, by_query[r]); });
          Tile::put_sums(by_query, query_parts[j][warp]);
          read = warp_sum(read);
          if (Tile::lane() == 0) {
            read_parts[j][warp] = read;
          }
        }
        __syncthreads();
        // Meanwhile other warps may replace the tokens, but not the parts.
        add_warps(query_parts, at, start, count, first_row, 1, first_column > 0, by_queries);
        add_warps(key_parts, at, start, count, first_row, 1, true, by_keys);
        if (const int j = static_cast<int>(threadIdx.x); j < count) {
          terms[at.term_of(start + j)] += sum_parts(read_parts[j]);
        }
      }
    }
  }
}

// By a warp: the gradient by a query or key x, of those by x times `factor` and divided by its length, of each value head of a
// group. Differences are in f64, since little may be left of them.
__device__ __forceinline__ void put_gradient(const float* x, const float* by_unit, int group, int key, float factor,
                                             float* out) {
  constexpr int kElements = kMostKey / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float values[kElements], sums[kElements] = {};
#pragma unroll 1
  for (int h = 0; h < group; h++) {
#pragma unroll
    for (int k = 0; k < kElements; k++) {
      const int i = lane + k * kWarp;
      sums[k] += i < key ? by_unit[h * key + i] : 0.0f;
    }
  }
  double squares = 0, product = 0;
#pragma unroll
  for (int k = 0; k < kElements; k++) {
    const int i = lane + k * kWarp;
    values[k] = i < key ? x[i] : 0.0f;
    squares += static_cast<double>(values[k]) * static_cast<double>(values[k]);
    product += static_cast<double>(values[k]) * static_cast<double>(sums[k]);
  }
  squares = warp_sum(squares) + static_cast<double>(kLengthEps);
  const double along = warp_sum(product) / squares;
  const float scale = factor * rsqrtf(static_cast<float>(squares));
#pragma unroll
  for (int k = 0; k < kElements; k++) {
    const int i = lane + k * kWarp;
    if (i < key) {
      out[i] = scale * static_cast<float>(static_cast<double>(sums[k]) - static_cast<double>(values[k]) * along);
    }
  }
}

}  // namespace

// heads, heads_gradient [tokens, (2 key_heads) key + value_heads value]; decay, rate, rate_gradient [tokens, value_heads];
// log_decay, decay_bias [value_heads]; errors, gradient [tokens, value_heads value]; offsets as the batch has them; by_keys
// [tokens, value heads of the launch, key]; terms [tokens, value heads of the launch]. Writes the columns of values of
// heads_gradient. grid (value heads from first_head on, sequences).
extern "C" __global__ void __launch_bounds__(kThreads, 2)
    laco_gated_delta_gradient_values_f32_v1(const float* heads, const float* decay, const float* rate,
                                            const float* log_decay, const float* decay_bias, const float* errors,
                                            const float* gradient, const int32_t* offsets, float* heads_gradient,
                                            float* rate_gradient, float* by_keys, float* terms, int32_t first_head,
                                            int32_t key_heads, int32_t value_heads, int32_t key, int32_t value) {
  values_backward({heads, decay, rate, log_decay, decay_bias, errors, gradient, offsets},
                  {key_heads, value_heads, key, value}, heads_gradient, rate_gradient, by_keys, terms, first_head);
}
LACO_EXPORT(laco_gated_delta_gradient_values_f32_v1)

// Likewise, after that. by_queries as by_keys, to which and to terms it adds. Reads the columns of values of heads_gradient.
extern "C" __global__ void __launch_bounds__(kThreads, 2)
    laco_gated_delta_gradient_keys_f32_v1(const float* heads, const float* decay, const float* rate, const float* log_decay,
                                          const float* decay_bias, const float* errors, const float* gradient,
                                          const int32_t* offsets, const float* heads_gradient, float* by_queries,
                                          float* by_keys, float* terms, int32_t first_head, int32_t key_heads,
                                          int32_t value_heads, int32_t key, int32_t value) {
  keys_backward({heads, decay, rate, log_decay, decay_bias, errors, gradient, offsets}, {key_heads, value_heads, key, value},
                heads_gradient, by_queries, by_keys, terms, first_head);
}
LACO_EXPORT(laco_gated_delta_gradient_keys_f32_v1)

// A warp takes a token and a head of keys. by_queries, by_keys [tokens, value heads of the launch, key]: gradients by unit
// queries and keys, queries being divided by sqrt(key), too. Writes the columns of queries and keys of heads_gradient.
// grid = ceil(tokens heads / 8) for `launched_heads` heads of keys from first_head on.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_gated_delta_gradient_heads_f32_v1(const float* heads, const float* by_queries, const float* by_keys,
                                           float* heads_gradient, int64_t tokens, int32_t first_head,
                                           int32_t launched_heads, int32_t key_heads, int32_t value_heads, int32_t key,
                                           int32_t value) {
  const DeltaHeads dims = {key_heads, value_heads, key, value};
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (index >= tokens * launched_heads) {
    return;
  }
  const int64_t row = index / launched_heads * dims.row(), sums = index * dims.group() * key;
  const int query = (first_head + static_cast<int>(index % launched_heads)) * key;
#pragma unroll 1
  for (int k = 0; k < 2; k++) {
    const bool of_keys = k == 1;
    const int64_t at = row + (of_keys ? dims.keys() : 0) + query;
    put_gradient(heads + at, (of_keys ? by_keys : by_queries) + sums, dims.group(), key,
                 of_keys ? 1.0f : rsqrtf(static_cast<float>(key)), heads_gradient + at);
  }
}
LACO_EXPORT(laco_gated_delta_gradient_heads_f32_v1)

// A warp takes a sequence and a value head, 32 tokens at a time, the last ones first; sums are in f64. terms [tokens, heads],
// of `heads` value heads from first_head on; decay, decay_gradient, log_decay_gradient [tokens, value_heads]; log_decay,
// decay_bias [value_heads]. grid (ceil(heads / 8), sequences).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_gated_delta_gradient_decays_f32_v1(const float* terms, const float* decay, const float* log_decay,
                                            const float* decay_bias, const int32_t* offsets, float* decay_gradient,
                                            float* log_decay_gradient, int32_t first_head, int32_t heads,
                                            int32_t value_heads) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int own = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (own >= heads) {
    return;
  }
  const int head = first_head + own;
  const int64_t first = offsets[blockIdx.y];
  double later = 0;
#pragma unroll 1
  for (int64_t stop = offsets[blockIdx.y + 1]; stop > first; stop -= kWarp) {
    const int64_t token = stop - 1 - lane;
    const bool is_there = token >= first;
    const int64_t scalar = token * value_heads + head;
    const float x = is_there ? decay[scalar] + decay_bias[head] : 0.0f;
    // The sum over the lanes up to this one, whose tokens are later.
    double sum = is_there ? static_cast<double>(terms[token * heads + own]) : 0.0;
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const double other = __shfl_up_sync(~0u, sum, distance);
      sum += lane >= distance ? other : 0.0;
    }
    sum += later;
    later = __shfl_sync(~0u, sum, kWarp - 1);
    if (is_there) {
      const float logarithm = log_share(x, log_decay[head]);
      const float by_share = expf(logarithm) == 0.0f ? 0.0f : static_cast<float>(sum);
      decay_gradient[scalar] = by_share * (-expf(log_decay[head]) * logistic(x));
      log_decay_gradient[scalar] = by_share * logarithm;
    }
  }
}
LACO_EXPORT(laco_gated_delta_gradient_decays_f32_v1)
