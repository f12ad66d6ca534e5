// Batched layer merging: out = sum_j c_j * source_j for every tensor of a layer in one launch.
//
// In f64: each product is rounded before it is added, sources are added in order, and the sum is rounded once to the
// type of the out. All variants give the same bits as the plain loop of the other backends.
//
// With m sources an element moves m + 1 times the bytes of its type. For two sources in bf16 that takes
// 0.46 clocks of an H100, in which v2 has 0.06 clocks of f64 operations and 0.13 of conversions. On an RTX 4090 it
// takes 1.9 clocks, v2 has 3.0 (two f64 operations per clock), and v3 0.1 in f32. These are estimates, not
// measurements.
//
//   laco_mix_any_v1   an element at a time, any types. The readable baseline; used where types differ.
//   laco_mix_<T>_v2   16-byte vectors, up to six of them loaded at once per thread, sources read once for all outs.
//                     Fastest where f64 has half of f32's rate (compute capability 8.0, 9.0, 10.0).
//   laco_mix_<T>_v3   f32 where no rounding occurs, else f64. Fastest where f64 has 1/64 of f32's rate (8.6,
//                     8.9, 12.0) and coefficients are short, also for f32 tensors that hold 16-bit numbers.
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

// As KernelCode.java numbers them.
enum : int32_t { kF32 = 0, kF16 = 1, kBf16 = 2 };

constexpr int kThreads = 256;
constexpr int64_t kElements = 4096;  // of a block

// The part of a job that this block does.
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

// Whether the part is made of aligned whole vectors. All lanes of a warp test together.
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

// One vector of one out in f64. for_each_source calls its argument with every source's number and values.
template <class T, class Sources>
__device__ __forceinline__ void mix_exactly(const MixJob& job, int32_t out, int64_t vector,
                                            Sources for_each_source) {
  double sums[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; i++) {
    sums[i] = -0.0;
  }
  for_each_source([&](int32_t j, const float(&x)[kVector<T>]) {
    const double coefficient = job.coefficients[out * job.source_count + j];
#pragma unroll
    for (int i = 0; i < kVector<T>; i++) {
      sums[i] = __dadd_rn(sums[i], __dmul_rn(coefficient, static_cast<double>(x[i])));
    }
  });
  write_sums<T>(job, out, vector, sums);
}

// Whether the coefficients of an out are multiples of 1/256 below 32, as Eq. 1 with lambda 1 has them, and means
// of two: 13 bits, so that products with 16-bit numbers are exact in f32 and none is too small for it. All
// lanes of a warp look together.
__device__ __forceinline__ bool are_short(const MixJob& job, int32_t out) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  bool result = true;
  for (int32_t j = lane; j < job.source_count; j += kWarp) {
    const double coefficient = job.coefficients[out * job.source_count + j];
    const float in_f32 = __double2float_rn(coefficient);
    result &= static_cast<double>(in_f32) == coefficient && rintf(256 * in_f32) == 256 * in_f32 &&
              fabsf(in_f32) < 32;
  }
  return __all_sync(~0u, result);
}

// One vector of one out in f32, written if nothing was lost on the way: then f64 loses nothing either. False if
// something was, as by chance in one of thousands of vectors of 16-bit weights, or if coefficients are not short.
template <class T, class Sources>
__device__ __forceinline__ bool mix_in_f32(const MixJob& job, int32_t out, int64_t vector,
                                           Sources for_each_source) {
  if (!are_short(job, out)) {
    return false;
  }
  float sums[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; i++) {
    sums[i] = -0.0f;
  }
  bool exact = true;
  for_each_source([&](int32_t j, const float(&x)[kVector<T>]) {
    const float coefficient = __double2float_rn(job.coefficients[out * job.source_count + j]);
#pragma unroll
    for (int i = 0; i < kVector<T>; i++) {
      const float product = __fmul_rn(coefficient, x[i]);
      const float next = __fadd_rn(sums[i], product);
      // The difference with the larger number is exact (Dekker 1971). If it equals the smaller number, the sum is
      // exact, and so is the other difference. NaN is equal to nothing.
      exact &= __fsub_rn(next, sums[i]) == product && __fsub_rn(next, product) == sums[i];
      if constexpr (sizeof(T) == sizeof(float)) {
        exact &= __fmaf_rn(coefficient, x[i], -product) == 0 && (fabsf(x[i]) >= 0x1p-100f || x[i] == 0);
      }
      sums[i] = next;
    }
  });
  if (exact) {
    if (job.out_type == kF32) {
      write_vector<float>(job.outs[out], vector, sums);
    } else {
      write_vector<T>(job.outs[out], vector, sums);
    }
  }
  return exact;
}

// ---- v2 and v3

constexpr int kGroup = 3;

template <class T>
constexpr int kVectorsOfThread = static_cast<int>(kElements) / kVector<T> / kThreads;

// Loads a vector that is read once, so that outs and not sources stay in the L2.
__device__ __forceinline__ uint4 read_vector(const MixJob& job, int32_t source, int64_t vector) {
  return __ldcs(global(static_cast<const uint4*>(job.sources[source])) + vector);
}

template <class T, bool kInF32, class Sources>
__device__ __forceinline__ void mix_vector(const MixJob& job, int32_t out, int64_t vector,
                                           Sources for_each_source) {
  if constexpr (kInF32) {
    if (mix_in_f32<T>(job, out, vector, for_each_source)) {
      return;
    }
  }
  mix_exactly<T>(job, out, vector, for_each_source);
}

// kVectors vectors, which lie kThreads apart, of all outs from exactly kSources sources: all loads are issued at
// once, and the values are kept for all outs.
template <class T, bool kInF32, int kSources>
__device__ __forceinline__ void mix_few(const MixJob& job, int64_t begin) {
  constexpr int kVectors = 2;
#pragma unroll 1
  for (int k = 0; k < kVectorsOfThread<T>; k += kVectors) {
    const int64_t vector = begin + k * kThreads;
    uint4 raw[kVectors][kSources];
#pragma unroll
    for (int v = 0; v < kVectors; v++) {
#pragma unroll
      for (int j = 0; j < kSources; j++) {
        raw[v][j] = read_vector(job, j, vector + v * kThreads);
      }
    }
    for (int32_t out = 0; out < job.out_count; out++) {
#pragma unroll
      for (int v = 0; v < kVectors; v++) {
        mix_vector<T, kInF32>(job, out, vector + v * kThreads, [&](auto f) {
#pragma unroll
          for (int j = 0; j < kSources; j++) {
            float x[kVector<T>];
            unpack<T>(opaque(raw[v][j]), x);
            f(j, x);
          }
        });
      }
    }
  }
}

// For any number of sources, of which kGroup are loaded at once. They are read again for every out, from the L1.
template <class T, bool kInF32>
__device__ __forceinline__ void mix_many(const MixJob& job, int64_t begin) {
#pragma unroll 1
  for (int k = 0; k < kVectorsOfThread<T>; k++) {
    const int64_t vector = begin + k * kThreads;
    for (int32_t out = 0; out < job.out_count; out++) {
      mix_vector<T, kInF32>(job, out, vector, [&](auto f) {
        for (int32_t first = 0; first < job.source_count; first += kGroup) {
          uint4 raw[kGroup];
#pragma unroll
          for (int j = 0; j < kGroup; j++) {
            if (first + j < job.source_count) {
              raw[j] = read_vector(job, first + j, vector);
            }
          }
#pragma unroll
          for (int j = 0; j < kGroup; j++) {
            if (first + j < job.source_count) {
              float x[kVector<T>];
              unpack<T>(raw[j], x);
              f(first + j, x);
            }
          }
        }
      });
    }
  }
}

template <class T, bool kInF32>
__device__ __forceinline__ void mix(const MixJob* jobs, int32_t count) {
  const Part part = part_of_block(jobs, count);
  if (!is_vectors(part)) {
    mix_elements(part);
    return;
  }
  const int64_t begin = part.start / kVector<T> + threadIdx.x;
  switch (part.job.source_count) {
    case 1:
      mix_few<T, kInF32, 1>(part.job, begin);
      break;
    case 2:
      mix_few<T, kInF32, 2>(part.job, begin);
      break;
    case 3:
      mix_few<T, kInF32, 3>(part.job, begin);
      break;
    default:
      mix_many<T, kInF32>(part.job, begin);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    laco_mix_any_v1(const MixJob* jobs, int32_t job_count) {
  mix_elements(part_of_block(jobs, job_count));
}
LACO_EXPORT(laco_mix_any_v1)

#define LACO_MIX(name, T, kInF32)                                          \
  extern "C" __global__ void __launch_bounds__(kThreads, kInF32 ? 3 : 4)   \
      name(const MixJob* jobs, int32_t job_count) {                        \
    mix<T, kInF32>(jobs, job_count);                                       \
  }                                                                        \
  LACO_EXPORT(name)

LACO_MIX(laco_mix_f32_v2, float, false)
LACO_MIX(laco_mix_f16_v2, __half, false)
LACO_MIX(laco_mix_bf16_v2, __nv_bfloat16, false)
LACO_MIX(laco_mix_f32_v3, float, true)
LACO_MIX(laco_mix_f16_v3, __half, true)
LACO_MIX(laco_mix_bf16_v3, __nv_bfloat16, true)
