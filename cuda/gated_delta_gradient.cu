// The gradients of the gated delta rule over whole sequences. With the state S and the gradient R by it, and for each token
// unit query q, unit key k, value v, error e, share a, rate b and the gradient o by the result:
//
//   laco_gated_delta_gradient_values    from the last token to the first: the gradient by v is v' = b R^T k, that by b is
//                                       e . R^T k, and that by k as it is written b R e, with R + q o^T for R; then
//                                       R = a (R + q o^T - k v'^T)
//   laco_gated_delta_gradient_keys      from the first token to the last: S = a S; the gradient by k as it is read is -S v';
//                                       S = S + b k e^T; the gradient by q is S o
//       v1      keys up to 256 wide     v2      keys up to 128 wide, twice as many columns at a time
//       Some 10 key operations per value each. A block takes a value head of a sequence and 64 or 128 columns at a time, of
//       which each of 8 warps has a tile in registers; what its warps have of a sum over columns meets in shared memory.
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

// Rows and columns of a lane, and tokens in shared memory.
template <int kRows>
struct Extents {
  static constexpr int kColumns = 64 / kRows;
  static constexpr int kTokens = 64 / kRows;
  static constexpr int kBlockColumns = kWarps * 4 * kColumns;
};

// The tensors of a kernel.
struct Inputs {
  const float *heads, *decay, *rate, *log_decay, *decay_bias, *errors, *gradient;
  const int32_t* offsets;
};

// The value head of this block, of those from `first_head` on to which the launch is confined.
struct Place {
  DeltaHeads dims;
  int head;
  int64_t first, end;     // tokens
  int64_t sums, own_sums;  // columns of sums over value columns, and the first of this head

  __device__ Place(const DeltaHeads& all, const int32_t* offsets, int first_head)
      : dims(all), head(first_head + static_cast<int>(blockIdx.x)), first(offsets[blockIdx.y]),
        end(offsets[blockIdx.y + 1]), sums(static_cast<int64_t>(gridDim.x) * all.key),
        own_sums(static_cast<int64_t>(blockIdx.x) * all.key) {}

  __device__ __forceinline__ int64_t scalar(int64_t token) const { return token * dims.value_heads + head; }
  __device__ __forceinline__ int64_t term(int64_t token) const { return token * gridDim.x + blockIdx.x; }
  // The first element of the head's result.
  __device__ __forceinline__ int64_t result(int64_t token) const {
    return token * dims.values() + static_cast<int64_t>(head) * dims.value;
  }
};

// What a token and a head have in shared memory.
template <int kRows>
struct Token {
  alignas(16) float query[8 * kRows];
  alignas(16) float key[8 * kRows];
  float gradient[Extents<kRows>::kBlockColumns];
  float error[Extents<kRows>::kBlockColumns];
  float by_value[Extents<kRows>::kBlockColumns];
  float query_key, kept, rate;

  // By a warp: the unit query, unit key and their product.
  __device__ __forceinline__ void put_units(const Inputs& in, const Place& at, int64_t token) {
    const float* const from = in.heads + at.dims.row(token);
    put_unit<8 * kRows>(from + at.dims.query(at.head), at.dims.key, rsqrtf(static_cast<float>(at.dims.key)), query);
    put_unit<8 * kRows>(from + at.dims.key_of(at.head), at.dims.key, 1.0f, key);
    float product = 0;
    for (int i = static_cast<int>(threadIdx.x) % kWarp; i < 8 * kRows; i += kWarp) {  // which this lane has written
      product = fmaf(query[i], key[i], product);
    }
    query_key = warp_sum(product);
  }

  // By a warp: the share that is kept, the rate, and the block's columns of gradient and error.
  __device__ __forceinline__ void put_rest(const Inputs& in, const Place& at, int64_t token, int first_column) {
    const int64_t result = at.result(token) + first_column, scalar = at.scalar(token);
    const int columns = at.dims.value - first_column;
    put_columns(in.gradient + result, columns, Extents<kRows>::kBlockColumns, gradient);
    put_columns(in.errors + result, columns, Extents<kRows>::kBlockColumns, error);
    kept = expf(log_share(in.decay[scalar] + in.decay_bias[at.head], in.log_decay[at.head]));
    rate = logistic(in.rate[scalar]);
  }
};

// out [count tokens, sums]: adds up what the warps have of each row, with what is there where it `adds`.
template <int kTokens, int kPadded>
__device__ __forceinline__ void add_warps(const float (&parts)[kTokens][kWarps][kPadded], const Place& at, int64_t start,
                                          int count, bool adds, float* out) {
  for (int i = static_cast<int>(threadIdx.x); i < count * at.dims.key; i += kThreads) {
    const int j = i / at.dims.key, row = i % at.dims.key;
    float* const to = out + (start + j) * at.sums + at.own_sums + row;
    float sum = adds ? *to : 0.0f;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) {
      sum += parts[j][warp][row];
    }
    *to = sum;
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

template <int kRows>
__device__ __forceinline__ void values_backward(const Inputs& in, const DeltaHeads& dims, float* heads_gradient,
                                                float* rate_gradient, float* by_keys, float* terms, int first_head) {
  using Extent = Extents<kRows>;
  constexpr int kColumns = Extent::kColumns, kTokens = Extent::kTokens;
  using Tile = StateTile<kRows, kColumns>;
  __shared__ Token<kRows> tokens[kTokens];
  alignas(16) __shared__ float key_parts[kTokens][kWarps][Tile::kPadded];
  __shared__ float rate_parts[kTokens][kWarps], read_parts[kTokens][kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int own = warp * Tile::kWidth + Tile::column();  // the lane's first column of the block's
  const Place at(dims, in.offsets, first_head);

  for (int first_column = 0; first_column < dims.value; first_column += Extent::kBlockColumns) {
    const int columns = dims.value - first_column;
    Tile by_state;
    by_state.fill([](int, int) { return 0.0f; });
    for (int64_t stop = at.end; stop > at.first; stop -= kTokens) {
      const int64_t start = max(stop - kTokens, at.first);
      const int count = static_cast<int>(stop - start);
      for (int j = warp; j < 2 * count; j += kWarps) {
        if (j % 2 == 0) {
          tokens[j / 2].put_units(in, at, start + j / 2);
        } else {
          tokens[j / 2].put_rest(in, at, start + j / 2, first_column);
        }
      }
      __syncthreads();
      for (int j = count - 1; j >= 0; j--) {
        const Token<kRows>& token = tokens[j];
        float by_out[kColumns], written[kColumns], by_written[kColumns] = {};
        float product = 0;
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          by_out[c] = token.gradient[own + c];
          written[c] = token.rate * token.error[own + c];
          product = fmaf(by_out[c], written[c], product);
        }
        float by_key[kRows] = {};
        Tile::for_rows(token.key, [&](int r, float k) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_written[c] = fmaf(by_state.at[r][c], k, by_written[c]);
            by_key[r] = fmaf(by_state.at[r][c], written[c], by_key[r]);
          }
        });
        Tile::for_rows(token.query, [&](int r, float q) { by_key[r] = fmaf(q, product, by_key[r]); });
        Tile::put_sums(by_key, key_parts[j][warp]);
        Tile::sum_rows(by_written);
        float by_rate = 0, read = 0, by_value[kColumns];
        float* const to = heads_gradient + dims.row(start + j) + dims.value_of(at.head) + first_column + own;
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          read = fmaf(by_written[c], written[c], read);
          by_written[c] = fmaf(token.query_key, by_out[c], by_written[c]);
          by_rate = fmaf(by_written[c], token.error[own + c], by_rate);
          by_value[c] = token.rate * by_written[c];
          if (Tile::lane() < 4 && own + c < columns) {
            to[c] = by_value[c];
          }
        }
        by_rate = sum_columns(by_rate);
        read = sum_columns(read);
        if (Tile::lane() == 0) {
          rate_parts[j][warp] = by_rate;
          read_parts[j][warp] = read;
        }
        Tile::for_rows(token.query, [&](int r, float q) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_state.at[r][c] = fmaf(q, by_out[c], by_state.at[r][c]);
          }
        });
        Tile::for_rows(token.key, [&](int r, float k) {
#pragma unroll
          for (int c = 0; c < kColumns; c++) {
            by_state.at[r][c] = token.kept * fmaf(-k, by_value[c], by_state.at[r][c]);
          }
        });
      }
      __syncthreads();
      // Meanwhile other warps may replace the tokens, but not the parts.
      add_warps(key_parts, at, start, count, first_column > 0, by_keys);
      if (const int j = static_cast<int>(threadIdx.x); j < count) {
        const int64_t scalar = at.scalar(start + j), term = at.term(start + j);
        const float by_rate = sum_parts(rate_parts[j]) * (logistic(in.rate[scalar]) * logistic(-in.rate[scalar]));
        const float read = sum_parts(read_parts[j]);
        rate_gradient[scalar] = first_column > 0 ? rate_gradient[scalar] + by_rate : by_rate;
        terms[term] = first_column > 0 ? terms[term] - read : -read;
      }
    }
  }
}

template <int kRows>
__device__ __forceinline__ void keys_backward(const Inputs& in, const DeltaHeads& dims, const float* heads_gradient,
                                              float* by_queries, float* by_keys, float* terms, int first_head) {
  using Extent = Extents<kRows>;
  constexpr int kColumns = Extent::kColumns, kTokens = Extent::kTokens;
  using Tile = StateTile<kRows, kColumns>;
  __shared__ Token<kRows> tokens[kTokens];
  alignas(16) __shared__ float query_parts[kTokens][kWarps][Tile::kPadded];
  alignas(16) __shared__ float key_parts[kTokens][kWarps][Tile::kPadded];
  __shared__ float read_parts[kTokens][kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int own = warp * Tile::kWidth + Tile::column();  // the lane's first column of the block's
  const Place at(dims, in.offsets, first_head);

  for (int first_column = 0; first_column < dims.value; first_column += Extent::kBlockColumns) {
    Tile state;
    state.fill([](int, int) { return 0.0f; });
    for (int64_t start = at.first; start < at.end; start += kTokens) {
      const int count = static_cast<int>(min(at.end - start, static_cast<int64_t>(kTokens)));
      for (int j = warp; j < 2 * count; j += kWarps) {
        const int64_t token = start + j / 2;
        if (j % 2 == 0) {
          tokens[j / 2].put_units(in, at, token);
        } else {
          tokens[j / 2].put_rest(in, at, token, first_column);
          put_columns(heads_gradient + dims.row(token) + dims.value_of(at.head) + first_column, dims.value - first_column,
                      Extent::kBlockColumns, tokens[j / 2].by_value);
        }
      }
      __syncthreads();
      for (int j = 0; j < count; j++) {
        const Token<kRows>& token = tokens[j];
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
      add_warps(query_parts, at, start, count, first_column > 0, by_queries);
      add_warps(key_parts, at, start, count, true, by_keys);
      if (const int j = static_cast<int>(threadIdx.x); j < count) {
        terms[at.term(start + j)] += sum_parts(read_parts[j]);
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
  float values[kElements], sums[kElements];
  double squares = 0, product = 0;
#pragma unroll
  for (int k = 0; k < kElements; k++) {
    const int i = lane + k * kWarp;
    values[k] = sums[k] = 0;
    if (i < key) {
      values[k] = x[i];
      for (int h = 0; h < group; h++) {
        sums[k] += by_unit[h * key + i];
      }
    }
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
#define LACO_GRADIENT_VALUES(name, rows)                                                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads, rows == 16 ? 2 : 1)                                             \
      name(const float* heads, const float* decay, const float* rate, const float* log_decay, const float* decay_bias,   \
           const float* errors, const float* gradient, const int32_t* offsets, float* heads_gradient,                    \
           float* rate_gradient, float* by_keys, float* terms, int32_t first_head, int32_t key_heads,                    \
           int32_t value_heads, int32_t key, int32_t value) {                                                            \
    values_backward<rows>({heads, decay, rate, log_decay, decay_bias, errors, gradient, offsets},                        \
                          {key_heads, value_heads, key, value}, heads_gradient, rate_gradient, by_keys, terms,           \
                          first_head);                                                                                   \
  }                                                                                                                      \
  LACO_EXPORT(name)

LACO_GRADIENT_VALUES(laco_gated_delta_gradient_values_f32_v1, 32)
LACO_GRADIENT_VALUES(laco_gated_delta_gradient_values_f32_v2, 16)

// Likewise, after that. by_queries as by_keys, to which and to terms it adds. Reads the columns of values of heads_gradient.
#define LACO_GRADIENT_KEYS(name, rows)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, rows == 16 ? 2 : 1)                                             \
      name(const float* heads, const float* decay, const float* rate, const float* log_decay, const float* decay_bias,   \
           const float* errors, const float* gradient, const int32_t* offsets, const float* heads_gradient,              \
           float* by_queries, float* by_keys, float* terms, int32_t first_head, int32_t key_heads, int32_t value_heads,  \
           int32_t key, int32_t value) {                                                                                 \
    keys_backward<rows>({heads, decay, rate, log_decay, decay_bias, errors, gradient, offsets},                          \
                        {key_heads, value_heads, key, value}, heads_gradient, by_queries, by_keys, terms, first_head);   \
  }                                                                                                                      \
  LACO_EXPORT(name)

LACO_GRADIENT_KEYS(laco_gated_delta_gradient_keys_f32_v1, 32)
LACO_GRADIENT_KEYS(laco_gated_delta_gradient_keys_f32_v2, 16)

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
  const int64_t row = dims.row(index / launched_heads);
  const int group = dims.group();
  const int head = (first_head + static_cast<int>(index % launched_heads)) * group;  // the first of its value heads
  const float* const from = heads + row;
  float* const to = heads_gradient + row;
  put_gradient(from + dims.query(head), by_queries + index * group * key, group, key, rsqrtf(static_cast<float>(key)),
               to + dims.query(head));
  put_gradient(from + dims.key_of(head), by_keys + index * group * key, group, key, 1.0f, to + dims.key_of(head));
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
