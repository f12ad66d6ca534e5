// What the machine can do: memory copied and read by the given number of threads, each its own
// contiguous part, and the cheapest call there is.
#include <emmintrin.h>

#include <cstdint>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kStreams = 4;

struct Part {
  int64_t from, bytes;
};

// The part of thread t of `threads`; whole cache lines. `bytes` is a multiple of a line.
Part part(int64_t bytes, int64_t t, int64_t threads) {
  const int64_t lines = bytes / kLine;
  const int64_t from = lines * t / threads, to = lines * (t + 1) / threads;
  return {from * kLine, (to - from) * kLine};
}

}  // namespace

EXPORT void bench_nothing() {}

// A call with as many arguments as a kernel has; the address is not followed.
EXPORT int32_t bench_arguments(const void*, int32_t, int64_t, const void*, const void*, const void*,
                               int64_t) {
  return 0;
}

// The C library's copy.
EXPORT void bench_copy(char* to, const char* from, int64_t bytes, int32_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int32_t t = 0; t < threads; t++) {
    const Part p = part(bytes, t, threads);
    std::memcpy(to + p.from, from + p.from, static_cast<size_t>(p.bytes));
  }
}

// A copy whose stores go past the caches, so that no line is read before it is overwritten. Buffers
// are aligned to a line.
EXPORT void bench_copy_streaming(char* to, const char* from, int64_t bytes, int32_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int32_t t = 0; t < threads; t++) {
    const Part p = part(bytes, t, threads);
    for (int64_t i = p.from; i < p.from + p.bytes; i += kLine) {
      const auto* in = reinterpret_cast<const __m128i*>(from + i);
      auto* out = reinterpret_cast<__m128i*>(to + i);
      const __m128i a = _mm_load_si128(in), b = _mm_load_si128(in + 1);
      const __m128i c = _mm_load_si128(in + 2), d = _mm_load_si128(in + 3);
      _mm_stream_si128(out, a);
      _mm_stream_si128(out + 1, b);
      _mm_stream_si128(out + 2, c);
      _mm_stream_si128(out + 3, d);
    }
    _mm_sfence();
  }
}

// Reads everything, in kStreams places at once, as the processor's prefetchers like it; the sum keeps
// the compiler from leaving that out.
EXPORT int64_t bench_read(const char* from, int64_t bytes, int32_t threads) {
  int64_t total = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : total)
  for (int32_t t = 0; t < threads; t++) {
    const Part p = part(bytes, t, threads);
    const int64_t stream = p.bytes / kStreams / kLine * kLine;
    __m128i sum = {};
    for (int64_t i = p.from; i < p.from + stream; i += kLine) {
      for (int64_t s = 0; s < kStreams; s++) {
        const auto* in = reinterpret_cast<const __m128i*>(from + i + s * stream);
        const __m128i ab = _mm_add_epi64(_mm_load_si128(in), _mm_load_si128(in + 1));
        const __m128i cd = _mm_add_epi64(_mm_load_si128(in + 2), _mm_load_si128(in + 3));
        sum = _mm_add_epi64(sum, _mm_add_epi64(ab, cd));
      }
    }
    total += _mm_cvtsi128_si64(sum) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum));
  }
  return total;
}

// to = the exclusive or of `count` sources of `bytes` each, one behind the other: the traffic of a
// merge and next to no work.
EXPORT void bench_combine(char* to, const char* from, int64_t count, int64_t bytes, int32_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int32_t t = 0; t < threads; t++) {
    const Part p = part(bytes, t, threads);
    for (int64_t i = p.from; i < p.from + p.bytes; i += kLine) {
      __m128i line[4] = {};
      for (int64_t j = 0; j < count; j++) {
        const auto* in = reinterpret_cast<const __m128i*>(from + j * bytes + i);
        for (int k = 0; k < 4; k++) {
          line[k] = _mm_xor_si128(line[k], _mm_load_si128(in + k));
        }
      }
      for (int k = 0; k < 4; k++) {
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i) + k, line[k]);
      }
    }
    _mm_sfence();
  }
}
