// Compiled with -ffp-contract=off: the product is rounded, then the sum, in every tier.
#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Vectors whose f64 sums are held in registers at once.
constexpr int kVectors = 2;
constexpr int64_t kElements = kVectors * W;
// Elements that a thread takes at once.
constexpr int64_t kChunk = 1 << 14;

struct Sums {
  Wide lower[kVectors], upper[kVectors];
};

template <class T>
inline void accumulate(const T* x, double coefficient, bool first, Sums& sums) {
  for (int k = 0; k < kVectors; k++) {
    Vec v = load(x + k * W);
    Wide lower = low(v) * coefficient, upper = high(v) * coefficient;
    // Not 0 + product: that would turn -0 into 0.
    sums.lower[k] = first ? lower : sums.lower[k] + lower;
    sums.upper[k] = first ? upper : sums.upper[k] + upper;
  }
}

inline Vec round(Wide lower, Wide upper, const F32*) { return nearest(lower, upper); }

template <class T>
inline Vec round(Wide lower, Wide upper, const T*) {
  return odd(lower, upper);
}

inline int64_t byte_size(int32_t dtype) { return dtype == 0 ? 4 : 2; }

// kElements sums, of elements that start `offset` into every source.
inline Sums sums(const double* coefficients, const void* const* sources, const int32_t* dtypes,
                 int64_t count, int64_t offset) {
  Sums result = {};
  for (int64_t j = 0; j < count; j++) {
    with_dtype(dtypes[j], sources[j], [&](auto* source) {
      accumulate(source + offset, coefficients[j], j == 0, result);
    });
  }
  return result;
}

}  // namespace

// out[i] = sum_j coefficients[j] * sources[j][i], in f64, ascending j, rounded once. out may be a
// source.
LACO_KERNEL(mix)
(void* out, int32_t out_dtype, int64_t n, const double* coefficients, const void* const* sources,
 const int32_t* dtypes, int64_t count) {
  for (int64_t j = 0; j < count; j++) {
    if (dtypes[j] < 0 || dtypes[j] > 2) {
      return LACO_BAD_DTYPE;
    }
  }
  return with_dtype(out_dtype, out, [&](auto* type) {
    auto* to = writable(type);
    auto write = [](auto* destination, const Sums& s) {
      for (int k = 0; k < kVectors; k++) {
        store(destination + k * W, round(s.lower[k], s.upper[k], destination));
      }
    };
    const int64_t whole = n / kElements * kElements;
#pragma omp parallel for schedule(static) if (n > kParallel)
    for (int64_t start = 0; start < whole; start += kChunk) {
      const int64_t end = min(whole, start + kChunk);
      for (int64_t i = start; i < end; i += kElements) {
        write(to + i, sums(coefficients, sources, dtypes, count, i));
      }
    }
    // The tail, source by source, through a copy that may be read in full.
    const int64_t tail = n - whole;
    if (tail > 0) {
      Sums last = {};
      for (int64_t j = 0; j < count; j++) {
        const int64_t size = byte_size(dtypes[j]);
        unsigned char copy[kElements * 4] = {};
        std::memcpy(copy, static_cast<const unsigned char*>(sources[j]) + whole * size,
                    static_cast<size_t>(tail * size));
        with_dtype(dtypes[j], copy, [&](auto* source) {
          accumulate(source, coefficients[j], j == 0, last);
        });
      }
      unsigned char rounded[kElements * 4];
      write(reinterpret_cast<decltype(to)>(rounded), last);
      std::memcpy(to + whole, rounded, static_cast<size_t>(tail) * sizeof *to);
    }
  });
}
