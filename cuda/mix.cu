// Batched layer merging: out = sum_j c_j * source_j for every tensor of a layer in one launch.
//
// f64 in every variant: the product is rounded, then the sum, sources in order, and the result once to the
// type of the out. So all variants give the bits of the plain loop, which the other backends have too.
//
// With m sources and one out of s bytes an element moves (m + 1) s bytes; v2 spends m products and sums
// and m conversions in f64 on it, v3 14 m operations in f32.
//
//   laco_mix_any_v1   an element at a time, any types. The readable baseline; wins where types differ.
//   laco_mix_<T>_v2   16-byte vectors, up to eight of them under way per thread, two outs per reading of
//                     the sources. Wins where f64 is at least a quarter of f32's rate (data-centre cards).
//   laco_mix_<T>_v3   f32 pairs and a proof that they round alike, else f64. Wins where f64 has 1/64 of
//                     f32's rate (8.6, 8.9, 12.0): per byte of bf16 moved v2 needs 1.5 operations of
//                     f64, and such a card does 2 per clock and multiprocessor while memory brings 3 bytes.
#include "common.cuh"

using namespace laco;

namespace {

// A tensor to be made for each of several candidates from the same sources. An out may be one of the
// sources if it is the job's only out.
struct MixJob {
  int64_t elements;
  int64_t first_block;  // a job has ceil(elements / kElements) blocks
  const void* const* sources;
  const int32_t* source_types;
  const double* coefficients;  // [out_count, source_count]
  void* const* outs;
  int32_t source_count;
  int32_t out_count;
  int32_t out_type;
  int32_t reserved;
};
static_assert(sizeof(MixJob) == 64, "the host packs these");

// As CpuKernels.java numbers them.
enum : int32_t { kF32 = 0, kF16 = 1, kBf16 = 2 };

constexpr int kThreads = 256;
constexpr int64_t kElements = 4096;  // of a block

// What this block is to do.
struct Part {
  const MixJob& job;
  int64_t start;
  int64_t end;
};

__device__ Part part_of_block(const MixJob* jobs, int32_t count) {
  const int64_t block = blockIdx.x;
  int32_t low = 0;
  int32_t high = count;
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (jobs[middle].first_block <= block ? low : high) = middle;
  }
  const MixJob& job = jobs[low];
  const int64_t start = (block - job.first_block) * kElements;
  return {job, start, min(start + kElements, job.elements)};
}

// ---- an element at a time

__device__ __forceinline__ double read(const void* source, int32_t type, int64_t i) {
  switch (type) {
    case kF32:
      return static_cast<double>(static_cast<const float*>(source)[i]);
    case kF16:
      return static_cast<double>(widen(static_cast<const __half*>(source)[i]));
    default:
      return static_cast<double>(widen(static_cast<const __nv_bfloat16*>(source)[i]));
  }
}

template <class T>
__device__ __forceinline__ void write(void* out, int64_t i, double sum) {
  const double exact[1] = {sum};
  float rounded[1];
  round_for<T>(exact, rounded);
  static_cast<T*>(out)[i] = narrow<T>(rounded[0]);
}

__device__ __forceinline__ void write(void* out, int32_t type, int64_t i, double sum) {
  switch (type) {
    case kF32:
      write<float>(out, i, sum);
      break;
    case kF16:
      write<__half>(out, i, sum);
      break;
    default:
      write<__nv_bfloat16>(out, i, sum);
  }
}

__device__ __forceinline__ void mix_elements(const Part& part) {
  const MixJob& job = part.job;
  for (int64_t i = part.start + threadIdx.x; i < part.end; i += kThreads) {
    for (int32_t o = 0; o < job.out_count; o++) {
      double sum = -0.0;  // adds nothing, not even to another -0
      for (int32_t j = 0; j < job.source_count; j++) {
        const double x = read(job.sources[j], job.source_types[j], i);
        const double coefficient = job.coefficients[o * job.source_count + j];
        sum = __dadd_rn(sum, __dmul_rn(coefficient, x));
      }
      write(job.outs[o], job.out_type, i, sum);
    }
  }
}

// ---- vectors

constexpr int kGroup = 3;  // sources that are under way at once

// Whether the part is vectors and nothing else. All lanes of a warp look together.
__device__ bool is_vectors(const Part& part) {
  const MixJob& job = part.job;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  bool result = part.end - part.start == kElements;
  for (int32_t j = lane; j < job.source_count; j += kWarp) {
    result &= aligned(job.sources[j], 16);
  }
  for (int32_t o = lane; o < job.out_count; o += kWarp) {
    result &= aligned(job.outs[o], 16);
  }
  return __all_sync(~0u, result);
}

// Vectors of the first sources, a group at a time: all loads first, then f(source, vector, values). The
// vectors lie kThreads apart.
template <class T, int kVectors, class Function>
__device__ __forceinline__ void for_each_source(const MixJob& job, int64_t vector, Function f) {
  for (int32_t first = 0; first < job.source_count; first += kGroup) {
    uint4 raw[kGroup][kVectors];
#pragma unroll
    for (int j = 0; j < kGroup; j++) {
      if (first + j < job.source_count) {
        const uint4* source = global(static_cast<const uint4*>(job.sources[first + j])) + vector;
#pragma unroll
        for (int v = 0; v < kVectors; v++) {
          raw[j][v] = __ldcs(source + v * kThreads);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kGroup; j++) {
      if (first + j < job.source_count) {
#pragma unroll
        for (int v = 0; v < kVectors; v++) {
          float x[kVector<T>];
          unpack<T>(raw[j][v], x);
          f(first + j, v, x);
        }
      }
    }
  }
}

// Outs are written without a hint: the product that follows finds what is still in the L2.
template <class Out, int N>
__device__ __forceinline__ void write_vector(void* out, int64_t vector, const float (&x)[N]) {
  constexpr int kParts = N / kVector<Out>;
#pragma unroll
  for (int part = 0; part < kParts; part++) {
    float values[kVector<Out>];
#pragma unroll
    for (int i = 0; i < kVector<Out>; i++) {
      values[i] = x[part * kVector<Out> + i];
    }
    global(static_cast<uint4*>(out))[vector * kParts + part] = pack<Out>(values);
  }
}

template <class T>
__device__ __forceinline__ void write_sums(const MixJob& job, int32_t out, int64_t vector,
                                           const double (&sums)[kVector<T>]) {
  float rounded[kVector<T>];
  if (job.out_type == kF32) {
    round_for<float>(sums, rounded);
    write_vector<float>(job.outs[out], vector, rounded);
  } else {
    round_for<T>(sums, rounded);
    write_vector<T>(job.outs[out], vector, rounded);
  }
}

// kOuts outs from `first` on, kVectors vectors of each.
template <class T, int kOuts, int kVectors>
__device__ __forceinline__ void mix_vectors(const MixJob& job, int32_t first, int64_t vector) {
  double sums[kOuts][kVectors][kVector<T>];
#pragma unroll
  for (int o = 0; o < kOuts; o++) {
#pragma unroll
    for (int v = 0; v < kVectors; v++) {
#pragma unroll
      for (int i = 0; i < kVector<T>; i++) {
        sums[o][v][i] = -0.0;
      }
    }
  }
  for_each_source<T, kVectors>(job, vector, [&](int32_t j, int v, const float(&x)[kVector<T>]) {
#pragma unroll
    for (int o = 0; o < kOuts; o++) {
      if (first + o < job.out_count) {
        const double coefficient = job.coefficients[(first + o) * job.source_count + j];
#pragma unroll
        for (int i = 0; i < kVector<T>; i++) {
          const double product = __dmul_rn(coefficient, static_cast<double>(x[i]));
          sums[o][v][i] = __dadd_rn(sums[o][v][i], product);
        }
      }
    }
  });
#pragma unroll
  for (int o = 0; o < kOuts; o++) {
    if (first + o < job.out_count) {
#pragma unroll
      for (int v = 0; v < kVectors; v++) {
        write_sums<T>(job, first + o, vector + v * kThreads, sums[o][v]);
      }
    }
  }
}

template <class T>
__device__ __forceinline__ void mix_v2(const MixJob* jobs, int32_t count) {
  const Part part = part_of_block(jobs, count);
  if (!is_vectors(part)) {
    mix_elements(part);
    return;
  }
  const int64_t begin = part.start / kVector<T> + threadIdx.x;
  const int64_t end = part.end / kVector<T>;
  if (part.job.out_count == 1) {
    for (int64_t vector = begin; vector < end; vector += 2 * kThreads) {
      mix_vectors<T, 1, 2>(part.job, 0, vector);
    }
    return;
  }
  // What the second pair of outs reads again is in the L1.
  for (int64_t vector = begin; vector < end; vector += kThreads) {
    for (int32_t out = 0; out < part.job.out_count; out += 2) {
      mix_vectors<T, 2, 1>(part.job, out, vector);
    }
  }
}

// ---- pairs of f32

// One vector of one out in f32, as sum + rest with an error of at most `bound`, written if all that lies so
// close rounds to the same value (Ziv, "Fast evaluation of elementary mathematical functions with correctly
// rounded last bit", 1991). False if not, as where sums lie close to the middle between two values.
// Middles that are met exactly, common in means of two, are no such case: then nothing is lost and the bound
// is 0.
//
// The bound, with n terms whose magnitudes add up to m: splitting a coefficient costs 2^-48 of its term, the
// fused multiply-add 2^-47; a term's rest is at most 2^-23 of it, a sum's 2^-24 m, so that adding them costs
// 2^-48 m + 2^-47 of the term, and adding that to the rest so far 2^-48 (n + 2) m; f64 itself errs by
// 2^-53 (n + 1) m. Together less than 2^-47 (n + 2)^2 m, a factor of two to spare.
template <class T>
__device__ __forceinline__ bool mix_pairs(const MixJob& job, int32_t out, int64_t vector) {
  constexpr int N = kVector<T>;
  const int32_t terms = job.source_count;
  if (terms > kWarp) {
    return false;
  }
  // Each lane splits one coefficient.
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  const double coefficient = lane < terms ? job.coefficients[out * terms + lane] : 1.0;
  const float high = __double2float_rn(coefficient);
  const double remainder = __dsub_rn(coefficient, static_cast<double>(high));
  const float low = __double2float_rn(remainder);
  if (!__all_sync(~0u, fabs(coefficient) >= 0x1p-60)) {  // or the lower half may be subnormal
    return false;
  }
  const bool short_coefficients = __all_sync(~0u, remainder == 0);

  float sum[N], rest[N], magnitude[N];
#pragma unroll
  for (int i = 0; i < N; i++) {
    sum[i] = rest[i] = magnitude[i] = 0;
  }
  float smallest = 0x1p120f;
  uint32_t lost = 0;
  for_each_source<T, 1>(job, vector, [&](int32_t j, int, const float(&x)[N]) {
    const float c = __shfl_sync(~0u, high, j), c_rest = __shfl_sync(~0u, low, j);
#pragma unroll
    for (int i = 0; i < N; i++) {
      // product + product_rest = c x and next + sum_rest = sum + product, both exactly (Dekker, Knuth).
      const float product = __fmul_rn(c, x[i]);
      const float product_rest = __fmaf_rn(c, x[i], -product);
      const float next = __fadd_rn(sum[i], product);
      const float added = __fsub_rn(next, sum[i]);
      const float sum_rest =
          __fadd_rn(__fsub_rn(sum[i], __fsub_rn(next, added)), __fsub_rn(product, added));
      sum[i] = next;
      lost |= __float_as_uint(product_rest) | __float_as_uint(sum_rest);
      const float term_rest = __fmaf_rn(c_rest, x[i], product_rest);
      rest[i] = __fadd_rn(rest[i], __fadd_rn(sum_rest, term_rest));
      magnitude[i] = __fadd_rn(magnitude[i], fabsf(product));
      smallest = fminf(smallest, fabsf(product));
    }
  });

  const bool exact = short_coefficients && lost << 1 == 0;
  const float n = static_cast<float>(terms + 2);
  const float relative = exact ? 0.0f : n * n * 0x1p-47f;
  bool proven = smallest >= 0x1p-100f;  // or a product's rest may underflow
  float least[N], most[N];
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float bound = magnitude[i] * relative;
    const float below = __fadd_rd(rest[i], -bound), above = __fadd_ru(rest[i], bound);
    if (job.out_type == kF32) {
      least[i] = __fadd_rn(sum[i], below);
      most[i] = __fadd_rn(sum[i], above);
    } else {
      least[i] = __fadd_rd(sum[i], below);
      most[i] = __fadd_ru(sum[i], above);
    }
    proven &= magnitude[i] <= 0x1p120f;  // neither infinite nor NaN
  }
  if (job.out_type == kF32) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      proven &= least[i] == most[i];
    }
    if (proven) {
      write_vector<float>(job.outs[out], vector, least);
    }
  } else {
    const uint4 a = pack<T>(least), b = pack<T>(most);
    proven &= a.x == b.x && a.y == b.y && a.z == b.z && a.w == b.w;
    if (proven) {
      write_vector<T>(job.outs[out], vector, least);
    }
  }
  return proven;
}

template <class T>
__device__ __forceinline__ void mix_v3(const MixJob* jobs, int32_t count) {
  const Part part = part_of_block(jobs, count);
  if (!is_vectors(part)) {
    mix_elements(part);
    return;
  }
  const int64_t end = part.end / kVector<T>;
  for (int64_t vector = part.start / kVector<T> + threadIdx.x; vector < end; vector += kThreads) {
    for (int32_t out = 0; out < part.job.out_count; out++) {
      if (!mix_pairs<T>(part.job, out, vector)) {
        mix_vectors<T, 1, 1>(part.job, out, vector);
      }
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    laco_mix_any_v1(const MixJob* jobs, int32_t job_count) {
  mix_elements(part_of_block(jobs, job_count));
}
LACO_EXPORT(laco_mix_any_v1)

#define LACO_MIX(name, mix, T)                                \
  extern "C" __global__ void __launch_bounds__(kThreads, 3)   \
      name(const MixJob* jobs, int32_t job_count) {           \
    mix<T>(jobs, job_count);                                  \
  }                                                           \
  LACO_EXPORT(name)

LACO_MIX(laco_mix_f32_v2, mix_v2, float)
LACO_MIX(laco_mix_f16_v2, mix_v2, __half)
LACO_MIX(laco_mix_bf16_v2, mix_v2, __nv_bfloat16)

LACO_MIX(laco_mix_f32_v3, mix_v3, float)
LACO_MIX(laco_mix_f16_v3, mix_v3, __half)
LACO_MIX(laco_mix_bf16_v3, mix_v3, __nv_bfloat16)
