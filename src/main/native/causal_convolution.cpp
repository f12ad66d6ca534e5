// Causal convolution of each column, and its gradients. A thread has all tokens of a block of columns, whose weights it
// copies first, so that those of neighbouring columns are side by side.
#include <omp.h>

#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Columns of a block, a multiple of W.
constexpr int64_t kColumns = 256;
// Number of rows whose products are added up in f32; sums of more rows are in f64.
constexpr int64_t kRows = 16;

// Some columns of all tokens. Pointers are to the first of these columns.
struct Block {
  int64_t count;   // of columns, kColumns at most
  int64_t stride;  // columns of a row
  int64_t width;   // weights of a column
  float* weights;  // [width, kColumns]

  // Copies the weights of these columns; places behind the last column get zeros.
  void copy(const float* weight) const {
    for (int64_t i = 0; i < width; i++) {
      for (int64_t c = 0; c < kColumns; c++) {
        weights[i * kColumns + c] = c < count ? weight[c * width + i] : 0;
      }
    }
  }

  // One sequence. The width - 1 rows in front of x are those of `earlier`; null for zeros.
  void convolve(const float* x, int64_t length, const float* earlier, float* out) const {
    for (int64_t t = 0; t < length; t++) {
      const int64_t inside = max(int64_t{0}, width - 1 - t);  // the first weight of a row of x
      each_vector(count, [&](int64_t c, auto... n) {
        Vec sum = {};
        for (int64_t i = earlier == nullptr ? inside : 0; i < inside; i++) {
          sum = fma(load(weights + i * kColumns + c), load(earlier + (t + i) * stride + c, n...), sum);
        }
        for (int64_t i = inside; i < width; i++) {
          sum = fma(load(weights + i * kColumns + c), load(x + (t + i - width + 1) * stride + c, n...), sum);
        }
        store(out + t * stride + c, sum, n...);
      });
    }
  }

  // Moves the last width - 1 rows of `rows` and x to `rows`. Earlier rows are zeros if the sequence is new.
  void keep(const float* x, int64_t length, bool is_new, float* rows) const {
    for (int64_t i = 0; i < width - 1; i++) {
      const int64_t from = length + i;  // counted from the first of `rows`; behind i, or i itself
      const bool zero = from < width - 1 && is_new;
      const float* row = from < width - 1 ? rows + from * stride : x + (from - width + 1) * stride;
      each_vector(count, [&](int64_t c, auto... n) {
        store(rows + i * stride + c, zero ? Vec{} : load(row + c, n...), n...);
      });
    }
  }

  // The gradients by rows [from, to) of a sequence of `length`; adds those by the weights to `sums` unless it is null.
  void differentiate(const float* x, const float* gradient, int64_t length, int64_t from, int64_t to, float* sums,
                     float* out) const {
    each_vector(count, [&](int64_t c, auto... n) {
      for (int64_t t = from; t < to; t++) {
        Vec sum = {};
        for (int64_t later = 0; later < min(width, length - t); later++) {
          const Vec weight = load(weights + (width - 1 - later) * kColumns + c);
          sum = fma(weight, load(gradient + (t + later) * stride + c, n...), sum);
        }
        store(out + t * stride + c, sum, n...);
      }
      for (int64_t later = 0; later < width && sums != nullptr; later++) {
        Vec run = {};
        for (int64_t t = from; t < min(to, length - later); t++) {
          run = fma(load(x + t * stride + c, n...), load(gradient + (t + later) * stride + c, n...), run);
        }
        float* own = sums + 2 * ((width - 1 - later) * kColumns + c);
        const Wide lower = read<Wide>(own) + low(run), upper = read<Wide>(own + W) + high(run);
        std::memcpy(own, &lower, sizeof lower);
        std::memcpy(own + W, &upper, sizeof upper);
      }
    });
  }

  // weight_gradient += sums, f64 [width, kColumns].
  void add(const float* sums, float* weight_gradient) const {
    for (int64_t c = 0; c < count; c++) {
      for (int64_t i = 0; i < width; i++) {
        weight_gradient[c * width + i] += static_cast<float>(read<double>(sums + 2 * (i * kColumns + c)));
      }
    }
  }
};

// Calls f(block, first column, the thread's scratch behind its weights) for all blocks.
template <class Function>
inline int32_t each_block(int64_t columns, int64_t width, int64_t tokens, int64_t floats, float* scratch, Function f) {
#pragma omp parallel for schedule(static) if (tokens * columns * width > kParallelLight)
  for (int64_t first = 0; first < columns; first += kColumns) {
    float* own = scratch + omp_get_thread_num() * floats;
    f(Block{min(kColumns, columns - first), columns, width, own}, first, own + width * kColumns);
  }
  return LACO_OK;
}

}  // namespace

// Number of floats that laco_causal_convolution and its gradient need as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_causal_convolution_scratch_,
                                                                    LACO_TIER)(int64_t width);
int64_t LACO_JOIN(laco_causal_convolution_scratch_, LACO_TIER)(int64_t width) { return 3 * width * kColumns; }

// out[t][c] = sum of weight[c][i] * x[t - width + 1 + i][c] over i; x, out [T, columns], weight [columns, width]. states
// [slots, (width - 1) * columns] may be null, for zeros; sequence s has row key_offsets[s] / capacity of it, which is not
// read where past[s] is 0.
LACO_KERNEL(causal_convolution)
(const float* x, const float* weight, int64_t columns, int64_t width, const int32_t* offsets, const int32_t* past,
 const int32_t* key_offsets, int64_t capacity, int64_t sequences, float* states, float* scratch, float* out) {
  const int64_t floats = 3 * width * kColumns;
  return each_block(columns, width, offsets[sequences], floats, scratch, [&](Block block, int64_t first, float*) {
    block.copy(weight + first * width);
    for (int64_t s = 0; s < sequences; s++) {
      const int64_t at = offsets[s] * columns + first, length = offsets[s + 1] - offsets[s];
      float* rows = nullptr;
      if (states != nullptr) {
        rows = states + key_offsets[s] / capacity * (width - 1) * columns + first;
      }
      block.convolve(x + at, length, past[s] == 0 ? nullptr : rows, out + at);
      if (rows != nullptr) {
        block.keep(x + at, length, past[s] == 0, rows);
      }
    }
  });
}

// The gradients over whole sequences: out by x, and weight_gradient, which is added to, or null.
LACO_KERNEL(causal_convolution_gradient)
(const float* x, const float* weight, int64_t columns, int64_t width, const int32_t* offsets, int64_t sequences,
 const float* gradient, float* scratch, float* weight_gradient, float* out) {
  const int64_t floats = 3 * width * kColumns;
  return each_block(columns, width, offsets[sequences], floats, scratch, [&](Block block, int64_t first, float* own) {
    block.copy(weight + first * width);
    float* sums = weight_gradient == nullptr ? nullptr : own;
    if (sums != nullptr) {
      std::memset(sums, 0, static_cast<size_t>(2 * width * kColumns) * sizeof *sums);
    }
    for (int64_t s = 0; s < sequences; s++) {
      const int64_t at = offsets[s] * columns + first, length = offsets[s + 1] - offsets[s];
      for (int64_t t = 0; t < length; t += kRows) {
        block.differentiate(x + at, gradient + at, length, t, min(length, t + kRows), sums, out + at);
      }
    }
    if (sums != nullptr) {
      block.add(sums, weight_gradient + first * width);
    }
  });
}
