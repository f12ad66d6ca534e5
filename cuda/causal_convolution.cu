// Causal convolution of columns within each sequence of packed rows, and its gradients:
//   out_t = sum_i weight_i x_(t - width + 1 + i), for every column, with a row of weights for each.
//
//   laco_causal_convolution_f32_v1             8 bytes and `width` multiply-adds per element
//   laco_causal_convolution_gradient_f32_v1    12 bytes and twice as many; and a row of partial sums of gradients by weights
//                                              for each part of the tokens, which laco_column_sums adds up
//
// Bound by memory: a row is read `width` times, but once from device memory. A thread takes a column of a run of tokens, and
// keeps its first kKept weights in registers.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kKept = 4;  // usual widths

// The weights of a column.
struct Factors {
  const float* all;
  int width;
  float kept[kKept];

  __device__ Factors(const float* weight, int count) : all(weight), width(count) {
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      kept[i] = i < width ? all[i] : 0;
    }
  }

  // The sum of factor i times row(i).
  template <class Row>
  __device__ __forceinline__ float multiply(Row row) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      if (i < width) {
        sum = fmaf(kept[i], row(i), sum);
      }
    }
#pragma unroll 1
    for (int i = kKept; i < width; i++) {
      sum = fmaf(all[i], row(i), sum);
    }
    return sum;
  }
};

__device__ __forceinline__ int64_t column_of_thread() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

}  // namespace

// x, out [tokens, columns], out other memory; weight [columns, width]; offsets, past, key_offsets as the batch has them.
// states [slots, width - 1, columns], or null: the last rows of x of earlier tokens, the oldest first, of slot key_offset /
// capacity; become those behind the batch. A block takes a run of at least width - 1 tokens of a sequence, so that the block
// of the first run alone reads states, and may replace them.
// grid (ceil(columns / 256), ceil(longest / run), sequences).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_causal_convolution_f32_v1(const float* x, const float* weight, const int32_t* offsets, const int32_t* past,
                                   const int32_t* key_offsets, float* states, float* out, int64_t columns, int32_t width,
                                   int32_t capacity, int32_t run) {
  const int64_t column = column_of_thread();
  const int sequence = static_cast<int>(blockIdx.z);
  const int first = offsets[sequence], length = offsets[sequence + 1] - first;
  const int start = static_cast<int>(blockIdx.y) * run;
  if (column >= columns || start >= length) {
    return;
  }
  const int before = width - 1;
  const Factors factors(weight + column * width, width);
  const float* const rows = x + first * columns + column;
  float* const state =
      states == nullptr ? nullptr : states + key_offsets[sequence] / capacity * (before * columns) + column;
  const bool has_past = state != nullptr && past[sequence] > 0;
  // Row t of the sequence; those of earlier tokens have negative numbers.
  auto row = [&](int t) { return t >= 0 ? rows[t * columns] : has_past ? state[(before + t) * columns] : 0.0f; };
#pragma unroll 1
  for (int t = start; t < min(start + run, length); t++) {
    out[(first + t) * columns + column] = factors.multiply([&](int i) { return row(t - before + i); });
  }
  if (start == 0 && state != nullptr) {
    // Upwards, so that no row is replaced before it has moved.
#pragma unroll 1
    for (int i = 0; i < before; i++) {
      state[i * columns] = row(length - before + i);
    }
  }
}
LACO_EXPORT(laco_causal_convolution_f32_v1)

// The gradients by x, and by the weights of each `part` tokens. x, gradient, out [tokens, columns], out other memory;
// weight [columns, width]; by_weight [parts, columns, width], or null.
// grid (ceil(columns / 256), parts).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_causal_convolution_gradient_f32_v1(const float* x, const float* weight, const int32_t* offsets,
                                            const float* gradient, float* by_weight, float* out, int64_t columns,
                                            int32_t width, int32_t sequences, int32_t part) {
  const int64_t column = column_of_thread();
  if (column >= columns) {
    return;
  }
  const int first = static_cast<int>(blockIdx.y) * part, last = min(first + part, offsets[sequences]);
  const Factors factors(weight + column * width, width);
  // The sequence of the first token.
  int low = 0;
  for (int high = sequences; high - low > 1;) {
    const int middle = low + (high - low) / 2;
    (offsets[middle] <= first ? low : high) = middle;
  }
  // Calls f(token, end of its sequence) for the tokens of the part.
  auto for_each = [&](auto f) {
    int end = offsets[low + 1];
#pragma unroll 1
    for (int t = first, sequence = low; t < last; t++) {
      if (t == end) {
        end = offsets[++sequence + 1];
      }
      f(t, end);
    }
  };
  // The gradient by row t of the result, of which there is none behind the sequence.
  auto by_row = [&](int64_t t, int end) { return t < end ? gradient[t * columns + column] : 0.0f; };

  float sums[kKept] = {};
  for_each([&](int t, int end) {
    const float value = by_weight == nullptr ? 0.0f : x[t * columns + column];
    out[t * columns + column] = factors.multiply([&](int i) { return by_row(t + width - 1 - i, end); });
#pragma unroll
    for (int i = 0; i < kKept; i++) {
      if (i < width) {
        sums[i] = fmaf(value, by_row(t + width - 1 - i, end), sums[i]);
      }
    }
  });
  if (by_weight == nullptr) {
    return;
  }
  float* const to = by_weight + (blockIdx.y * columns + column) * width;
#pragma unroll
  for (int i = 0; i < kKept; i++) {
    if (i < width) {
      to[i] = sums[i];
    }
  }
#pragma unroll 1
  for (int i = kKept; i < width; i++) {
    float sum = 0;
    for_each([&](int t, int end) {
      sum = fmaf(x[t * columns + column], by_row(t + width - 1 - i, end), sum);
    });
    to[i] = sum;
  }
}
LACO_EXPORT(laco_causal_convolution_gradient_f32_v1)
