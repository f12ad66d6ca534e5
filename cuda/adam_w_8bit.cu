// A step of AdamW on many tensors with running means in 8 bits (Dettmers et al. 2022, arXiv 2110.02861): of each block of
// 256 elements two scales and the codes of both. A warp takes a block at a time, a lane four neighbours of each half of
// it.
//
//   laco_adam_w_8bit_<W>_v2    20 bytes per element and W's, without a master 12 and twice W's; some 100 operations: an
//                              H100 has time for about as many
#include "adam_w.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 4;                // in which a block of threads takes its elements
constexpr int kBlock = 256;               // elements that share scales
constexpr int kCodeWords = kBlock / 4;    // of the codes of one running mean
constexpr int kRow = 2 + 2 * kCodeWords;  // words of a block: two scales, then the codes of both running means
constexpr int kQuads = kCodeWords / kWarp;

// A nonlinear code. With the place e of the highest bit of the last kBits bits of a code and the share f, in [0, 1),
// that the bits behind it are of 2^e, it stands for 10^(e - kBits + 1) (0.1 + 0.9 (f + 2^-e / 2)). Zero stands for 0;
// bit 7, if it is none of these bits, for the sign.
template <int kBits>
struct Code {
  static __device__ __forceinline__ float value(int code) {
    const int magnitude = code & ((1 << kBits) - 1);
    if (magnitude == 0) {
      return 0;
    }
    const int e = 31 - __clz(magnitude);
    float decade = 1;
    for (int i = e + 1; i < kBits; i++) {
      decade /= 10;
    }
    const float count = static_cast<float>(1 << e);
    const float share = (static_cast<float>(magnitude) + 0.5f) / count - 1;
    const float value = decade * (0.1f + 0.9f * share);
    return code == magnitude ? value : -value;
  }

  // Of a number of [0, 1]: each code has a part of a decade, of which the decade has as many as codes. What lies below
  // the lowest decade, or is no number, has the code `least`.
  static __device__ __forceinline__ uint32_t of(float x, uint32_t least) {
    constexpr float kPowers[] = {1, 1e1f, 1e2f, 1e3f, 1e4f, 1e5f, 1e6f, 1e7f};
    constexpr float kTenths[] = {1, 1e-1f, 1e-2f, 1e-3f, 1e-4f, 1e-5f, 1e-6f, 1e-7f, 1e-8f};
    float scale = kPowers[kBits - 1], count = 1;
#pragma unroll
    for (int e = 1; e < kBits; e++) {
      const bool reached = x >= kTenths[kBits - e];
      scale = reached ? kPowers[kBits - 1 - e] : scale;
      count = reached ? static_cast<float>(1 << e) : count;
    }
    const float part = fminf(fmaxf((x * scale - 0.1f) * (1 / 0.9f) * count, 0.0f), count - 1);
    return x >= kTenths[kBits] ? static_cast<uint32_t>(count + part) : least;
  }
};

using MeanCode = Code<7>;
using SquareCode = Code<8>;

// By what numbers are multiplied so that the largest becomes 1; 0 where that is less than any normal f32.
__device__ __forceinline__ float inverse(float largest) { return largest >= 0x1p-126f ? 1 / largest : 0; }

// Four neighbours from i on: as a vector, or one by one, of which those from n on are zeros.
template <bool kVectors, class Load>
__device__ __forceinline__ Floats<4> four(int64_t i, int64_t n, Load load_from) {
  if constexpr (kVectors) {
    return load_from(Width<4>(), i);
  } else {
    Floats<4> x{};
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (i + k < n) {
        x[k] = load_from(Width<1>(), i + k)[0];
      }
    }
    return x;
  }
}

// Calls f(Width<4>(), i), or f(Width<1>(), i + k) for each of four neighbours before n, in code of its own: values of the
// neighbours stay in registers.
template <bool kVectors, class Function>
__device__ __forceinline__ void each_of_four(int64_t i, int64_t n, Function f) {
  if constexpr (kVectors) {
    f(Width<4>(), i);
  } else {
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (i + k < n) {
        f(Width<1>(), i + k);
      }
    }
  }
}

// Takes a block, whose first element is `first`, by a warp.
template <bool kVectors, class W>
__device__ __forceinline__ void take_block(float* gradient, uint32_t* row, const Trained<W>& trained, int64_t first,
                                           int64_t n, const float* mean_values, const float* square_values,
                                           const AdamStep& step) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float mean_scale = __uint_as_float(row[0]), square_scale = __uint_as_float(row[1]);
  Floats<4> m[kQuads], s[kQuads];
  float most_mean = 0, most_square = 0;
#pragma unroll
  for (int q = 0; q < kQuads; q++) {
    const int word = q * kWarp + lane;
    const uint32_t mean_codes = row[2 + word], square_codes = row[2 + kCodeWords + word];
    const int64_t i = first + 4 * word;
    const Floats<4> g = four<kVectors>(i, n, [&](auto width, int64_t at) {
      return load<decltype(width)::value>(gradient + at);
    });
    Floats<4> w = four<kVectors>(i, n, [&](auto width, int64_t at) {
      return trained.template value<decltype(width)::value>(at);
    });
#pragma unroll
    for (int k = 0; k < 4; k++) {
      m[q][k] = mean_scale * mean_values[mean_codes >> (8 * k) & 255];
      s[q][k] = square_scale * square_values[square_codes >> (8 * k) & 255];
      step.take(g[k], m[q][k], s[q][k], w[k]);
      most_mean = fmaxf(most_mean, fabsf(m[q][k]));
      most_square = fmaxf(most_square, s[q][k]);
    }
    each_of_four<kVectors>(i, n, [&](auto width, int64_t at) {
      constexpr int N = decltype(width)::value;
      store(gradient + at, Floats<N>{});
      if constexpr (N == 4) {
        trained.set(at, w);
      } else {
        trained.set(at, Floats<1>{{w[static_cast<int>(at - i)]}});
      }
    });
  }
  most_mean = warp_max(most_mean);
  most_square = warp_max(most_square);
  const float by_mean = inverse(most_mean), by_square = inverse(most_square);
#pragma unroll
  for (int q = 0; q < kQuads; q++) {
    const int word = q * kWarp + lane;
    uint32_t mean_codes = 0, square_codes = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const uint32_t sign = m[q][k] < 0 ? 128 : 0;
      mean_codes |= (MeanCode::of(fabsf(m[q][k]) * by_mean, 0) | sign) << (8 * k);
      // A square that is not zero stays so: a step divides by its root.
      square_codes |= SquareCode::of(s[q][k] * by_square, s[q][k] > 0 ? 1 : 0) << (8 * k);
    }
    row[2 + word] = mean_codes;
    row[2 + kCodeWords + word] = square_codes;
  }
  if (lane == 0) {
    row[0] = __float_as_uint(most_mean);
    row[1] = __float_as_uint(most_square);
  }
}

template <class W>
__device__ __forceinline__ void adam_w_8bit(const AdamJob& job) {
  __shared__ float mean_values[256], square_values[256];
  mean_values[threadIdx.x] = MeanCode::value(static_cast<int>(threadIdx.x));
  square_values[threadIdx.x] = SquareCode::value(static_cast<int>(threadIdx.x));
  __syncthreads();
  float* const gradient = global(job.gradient);
  uint32_t* const moments = global(static_cast<uint32_t*>(job.mean));
  const Trained<W> trained = job.trained<W>();
  const AdamStep step = job.step;
  const int64_t n = job.elements;
  const bool vectors = aligned4(gradient) && trained.aligned4();
  constexpr int kWarps = kThreads / kWarp;
  const int64_t start = (blockIdx.x - job.first_block) * kWarps * kRounds + threadIdx.x / kWarp;
#pragma unroll 1
  for (int round = 0; round < kRounds; round++) {
    const int64_t block = start + round * kWarps;
    const int64_t first = block * kBlock;
    uint32_t* const row = moments + block * kRow;
    if (vectors && first + kBlock <= n) {
      take_block<true>(gradient, row, trained, first, n, mean_values, square_values, step);
    } else if (first < n) {
      take_block<false>(gradient, row, trained, first, n, mean_values, square_values, step);
    }
  }
}

}  // namespace

// jobs [count], in order of their blocks, each of ceil(elements / 8192). In the place of running means a job has words
// [ceil(elements / 256), 130]: of each block of elements the largest magnitude of means, that of squares, the codes of
// 256 means, and those of 256 squares. No damping. grid = blocks of all jobs.
#define LACO_ADAM_W_8BIT(name, W)                                                                           \
  extern "C" __global__ void __launch_bounds__(kThreads) name(const AdamJob* jobs, int32_t count) {         \
    adam_w_8bit<W>(job_of_block(jobs, count));                                                              \
  }                                                                                                         \
  LACO_EXPORT(name)

LACO_ADAM_W_8BIT(laco_adam_w_8bit_f32_v2, float)
LACO_ADAM_W_8BIT(laco_adam_w_8bit_f16_v2, __half)
LACO_ADAM_W_8BIT(laco_adam_w_8bit_bf16_v2, __nv_bfloat16)
