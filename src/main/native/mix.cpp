// This file is compiled with -ffp-contract=off: in every tier, each product is rounded before it is added.
#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Number of vectors whose f64 sums are held in registers at once.
constexpr int kVectors = 4;
constexpr int64_t kElements = kVectors * W;
// Number of elements that a thread computes at once.
constexpr int64_t kBlock = 1 << 14;
// Bytes from which on a result is too large to be found in a cache later.
constexpr int64_t kLarge = 32 << 20;
constexpr int64_t kLine = 64;

struct Sums {
  Wide lower[kVectors], upper[kVectors];
};

template <class T>
inline void accumulate(const T* x, double coefficient, bool first, Sums& sums) {
  for (int k = 0; k < kVectors; k++) {
    prefetch(x + k * W);
    Vec v = load(x + k * W);
    Wide lower = low(v) * coefficient, upper = high(v) * coefficient;
    // Not 0 + product, which would be 0 for a product of -0.
    sums.lower[k] = first ? lower : sums.lower[k] + lower;
    sums.upper[k] = first ? upper : sums.upper[k] + upper;
  }
}

template <class T>
inline void write(T* out, const Sums& sums) {
  for (int k = 0; k < kVectors; k++) {
    store(out + k * W, round(sums.lower[k], sums.upper[k], out));
  }
}

// Writes without the caches, so that the overwritten memory is not read first.
template <class T>
inline void write_streaming(T* out, const Sums& sums) {
  for (int k = 0; k < kVectors; k++) {
    stream(out + k * W, round(sums.lower[k], sums.upper[k], out));
  }
}

struct Sources {
  const double* coefficients;
  const void* const* data;
  const int32_t* dtypes;
  int64_t count;

  // Computes the sums of the kElements elements that start at `offset`.
  Sums whole(int64_t offset) const {
    Sums sums = {};
    for (int64_t j = 0; j < count; j++) {
      with_dtype(dtypes[j], data[j], [&](auto* source) {
        accumulate(source + offset, coefficients[j], j == 0, sums);
      });
    }
    return sums;
  }

  // Computes the sums of n < kElements elements, from padded copies of the sources.
  Sums part(int64_t offset, int64_t n) const {
    Sums sums = {};
    for (int64_t j = 0; j < count; j++) {
      with_dtype(dtypes[j], data[j], [&](auto* source) {
        unsigned char copy[kElements * sizeof *source] = {};
        std::memcpy(copy, source + offset, static_cast<size_t>(n) * sizeof *source);
        accumulate(reinterpret_cast<decltype(source)>(copy), coefficients[j], j == 0, sums);
      });
    }
    return sums;
  }
};

template <class T>
void mix(T* out, int64_t n, const Sources& sources) {
  auto part = [&](int64_t offset, int64_t count) {
    if (count > 0) {
      unsigned char rounded[kElements * sizeof *out];
      write(reinterpret_cast<T*>(rounded), sources.part(offset, count));
      std::memcpy(out + offset, rounded, static_cast<size_t>(count) * sizeof *out);
    }
  };
  const int64_t misaligned = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out) % kLine);
  const int64_t size = static_cast<int64_t>(sizeof *out);
  const bool streaming = kCanStream && n * size >= kLarge && misaligned % size == 0;
  const int64_t head = streaming ? misaligned / size : 0;
  part(0, head);
  const int64_t end = head + (n - head) / kElements * kElements;
#pragma omp parallel for schedule(static) if (n > kParallel)
  for (int64_t start = head; start < end; start += kBlock) {
    const int64_t stop = min(end, start + kBlock);
    if (streaming) {
      for (int64_t i = start; i < stop; i += kElements) {
        write_streaming(out + i, sources.whole(i));
      }
      finish_streaming();
    } else {
      for (int64_t i = start; i < stop; i += kElements) {
        write(out + i, sources.whole(i));
      }
    }
  }
  part(end, n - end);
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
    mix(writable(type), n, Sources{coefficients, sources, dtypes, count});
  });
}
