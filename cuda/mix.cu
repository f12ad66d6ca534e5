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
//   laco_mix_<T>_v2   vectors of 16 bytes, of 8 for several outs. Up to eight are loaded at once per thread; sources are
//                     read and converted once for every four outs.
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
  const MixJob& job = job_of_block(jobs, count);
  const int64_t start = (blockIdx.x - job.first_block) * kElements;
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

constexpr int kOutsAtOnce = 4;
constexpr int kMostSources = 128;  // of a job that is made of vectors

// What the threads of a block need to know of their job, in shared memory: stores to outs cannot change it, so that
// nothing is loaded again after them.
struct Table {
  const uint4* sources[kMostSources];
  double coefficients[kMostSources][kOutsAtOnce];
  uint4* outs[kOutsAtOnce];
  int32_t source_count;
  int32_t out_count;  // up to kOutsAtOnce
  bool f32_outs;
};

// Puts the sources into the table; returns whether the part is made of aligned whole vectors.
__device__ __forceinline__ bool put_sources(const Part& part, Table& table) {
  const MixJob& job = part.job;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  bool others = part.end - part.start != kElements || job.source_count > kMostSources;
  if (!others) {
    if (thread < job.source_count) {
      const void* const source = job.sources[thread];
      others = !aligned(source, 16);
      table.sources[thread] = static_cast<const uint4*>(source);
    }
    for (int32_t o = thread; o < job.out_count; o += kThreads) {
      others |= !aligned(job.outs[o], 16);
    }
    if (thread == 0) {
      table.source_count = job.source_count;
      table.f32_outs = job.out_type == kF32;
    }
  }
  return __syncthreads_or(others) == 0;
}

// Whether a coefficient is a multiple of 1/256 below 32, as Eq. 1 with lambda 1 has them, and means of two: 13 bits,
// so that products with 16-bit numbers are exact in f32 and none is too small for it.
__device__ __forceinline__ bool is_short(double coefficient) {
  const float in_f32 = __double2float_rn(coefficient);
  return static_cast<double>(in_f32) == coefficient && rintf(256 * in_f32) == 256 * in_f32 && fabsf(in_f32) < 32;
}

// Puts outs from `first` on into the table; returns whether all their coefficients are short.
__device__ __forceinline__ bool put_outs(const MixJob& job, int32_t first, Table& table) {
  const int32_t outs = min(kOutsAtOnce, job.out_count - first);
  bool others = false;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < outs * job.source_count; i += kThreads) {
    const int32_t o = i / job.source_count, j = i % job.source_count;
    const double coefficient = job.coefficients[first * job.source_count + i];
    table.coefficients[j][o] = coefficient;
    others |= !is_short(coefficient);
  }
  if (threadIdx.x < static_cast<unsigned>(outs)) {
    table.outs[threadIdx.x] = static_cast<uint4*>(job.outs[first + static_cast<int32_t>(threadIdx.x)]);
  }
  if (threadIdx.x == 0) {
    table.out_count = outs;
  }
  return __syncthreads_or(others) == 0;
}

// N neighbours of a source as they lie in memory, and as f32: 16 bytes, or 8 of a 16-bit type.
template <class T, int N>
struct Raw {
  static constexpr int kWords = N * static_cast<int>(sizeof(T)) / 4;
  static_assert(kWords == 2 || kWords == 4, "8 or 16 bytes");
  uint32_t words[kWords];

  // Of vectors that are read once, so that outs and not sources stay in the L2.
  static __device__ __forceinline__ Raw load(const uint4* source, int64_t vector) {
    if constexpr (kWords == 4) {
      const uint4 raw = __ldcs(global(source) + vector);
      return {{raw.x, raw.y, raw.z, raw.w}};
    } else {
      const uint2 raw = __ldcs(global(reinterpret_cast<const uint2*>(source)) + vector);
      return {{raw.x, raw.y}};
    }
  }

  // Hides from the compiler that the words do not change: else it would keep all values that depend on them.
  __device__ __forceinline__ void widened(float (&x)[N]) const {
#pragma unroll
    for (int i = 0; i < kWords; i++) {
      uint32_t word = words[i];
      asm volatile("" : "+r"(word));
      if constexpr (sizeof(T) == sizeof(float)) {
        x[i] = __uint_as_float(word);
      } else {
        const float2 two = widen_two<T>(word);
        x[2 * i] = two.x;
        x[2 * i + 1] = two.y;
      }
    }
  }
};

// N neighbours from `vector` times N on, in vectors of 16 bytes, or one of 8.
template <class Out, int N>
__device__ __forceinline__ void write_vector(uint4* out, int64_t vector, const float (&x)[N]) {
#pragma unroll
  for (int i = 0; i < N; i += kVector<Out>) {
    if constexpr (N < kVector<Out>) {
      store4(global(reinterpret_cast<Out*>(out)) + vector * N, make_float4(x[0], x[1], x[2], x[3]));
    } else {
      float values[kVector<Out>];
#pragma unroll
      for (int v = 0; v < kVector<Out>; v++) {
        values[v] = x[i + v];
      }
      global(out)[(vector * N + i) / kVector<Out>] = pack<Out>(values);
    }
  }
}

template <class T, int N>
__device__ __forceinline__ void write_sums(const Table& table, int out, int64_t vector, const double (&sums)[N]) {
  float rounded[N];
  if (table.f32_outs) {
    round_for<float>(sums, rounded);
    write_vector<float>(table.outs[out], vector, rounded);
  } else {
    round_for<T>(sums, rounded);
    write_vector<T>(table.outs[out], vector, rounded);
  }
}

// Loads a vector of each source from `first` on, as many as there are, all at once.
template <class T, int N, int kAtOnce>
__device__ __forceinline__ void load_sources(const Table& table, int32_t first, int64_t vector,
                                             Raw<T, N> (&raw)[kAtOnce]) {
#pragma unroll
  for (int j = 0; j < kAtOnce; j++) {
    if (first + j < table.source_count) {
      raw[j] = Raw<T, N>::load(table.sources[first + j], vector);
    }
  }
}

// One vector of every source: those of a job of up to kAtOnce, kept in registers.
template <class T, int N, int kAtOnce>
struct Kept {
  const Table& table;
  const Raw<T, N> (&raw)[kAtOnce];

  // Calls f(number, values) for every source in order.
  template <class Function>
  __device__ __forceinline__ void for_each(Function f) const {
#pragma unroll
    for (int j = 0; j < kAtOnce; j++) {
      if (j < table.source_count) {
        float x[N];
        raw[j].widened(x);
        f(j, x);
      }
    }
  }
};

// One vector of any number of sources, which are loaded when they are asked for, kAtOnce at a time.
template <class T, int N, int kAtOnce>
struct Asked {
  const Table& table;
  int64_t vector;

  template <class Function>
  __device__ __forceinline__ void for_each(Function f) const {
#pragma unroll 1
    for (int32_t first = 0; first < table.source_count; first += kAtOnce) {
      Raw<T, N> raw[kAtOnce];
      load_sources(table, first, vector, raw);
#pragma unroll
      for (int j = 0; j < kAtOnce; j++) {
        if (first + j < table.source_count) {
          float x[N];
          raw[j].widened(x);
          f(first + j, x);
        }
      }
    }
  }
};

// One vector in f64, of the outs whose bits are set in `wanted`; a source is converted once for all of them.
template <class T, int N, int kOuts, class Sources>
__device__ __forceinline__ void mix_exactly(const Table& table, uint32_t wanted, int64_t vector,
                                            const Sources& sources) {
  double sums[kOuts][N];
#pragma unroll
  for (int o = 0; o < kOuts; o++) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      sums[o][i] = -0.0;
    }
  }
  sources.for_each([&](int32_t j, const float(&x)[N]) {
    double wide[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
      wide[i] = static_cast<double>(x[i]);
    }
    if constexpr (kOuts > 1) {
      asm volatile("" : "+r"(j));  // coefficients of other sources do not wait in registers
    }
#pragma unroll
    for (int o = 0; o < kOuts; o++) {
      if ((wanted >> o & 1) != 0) {
        const double coefficient = table.coefficients[j][o];
#pragma unroll
        for (int i = 0; i < N; i++) {
          sums[o][i] = __dadd_rn(sums[o][i], __dmul_rn(coefficient, wide[i]));
        }
      }
    }
  });
#pragma unroll
  for (int o = 0; o < kOuts; o++) {
    if ((wanted >> o & 1) != 0) {
      write_sums<T>(table, o, vector, sums[o]);
    }
  }
}

// One vector of one out in f32, written if nothing was lost on the way: then f64 loses nothing either. False if
// something was, as by chance in one of thousands of vectors of 16-bit weights. Coefficients are short.
template <class T, int N, class Sources>
__device__ __forceinline__ bool mix_in_f32(const Table& table, int out, int64_t vector, const Sources& sources) {
  float sums[N];
#pragma unroll
  for (int i = 0; i < N; i++) {
    sums[i] = -0.0f;
  }
  bool exact = true;
  sources.for_each([&](int32_t j, const float(&x)[N]) {
    const float coefficient = __double2float_rn(table.coefficients[j][out]);
#pragma unroll
    for (int i = 0; i < N; i++) {
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
    if (table.f32_outs) {
      write_vector<float>(table.outs[out], vector, sums);
    } else {
      write_vector<T>(table.outs[out], vector, sums);
    }
  }
  return exact;
}

// ---- v2 and v3

// One vector of all outs of the table.
template <class T, int N, int kOuts, bool kInF32, class Sources>
__device__ __forceinline__ void mix_vector(const Table& table, bool in_f32, int64_t vector,
                                           const Sources& sources) {
  uint32_t wanted = (1u << table.out_count) - 1;
  if constexpr (kInF32) {
    if (in_f32) {
#pragma unroll 1
      for (int o = 0; o < table.out_count; o++) {
        if (mix_in_f32<T, N>(table, o, vector, sources)) {
          wanted &= ~(1u << o);
        }
      }
    }
  }
  if (wanted != 0) {
    mix_exactly<T, N, kOuts>(table, wanted, vector, sources);
  }
}

// The block's part of all outs of the table, of which a thread takes vectors of N elements. Up to eight of them are
// loaded at once: two of each of up to four sources, else one of each of up to eight; half as many for several outs in
// f32.
template <class T, int N, int kOuts, bool kInF32>
__device__ __forceinline__ void mix_outs(const Table& table, bool in_f32, int64_t start) {
  constexpr int kVectors = static_cast<int>(kElements) / N / kThreads;  // of a thread
  constexpr bool kHalf = kOuts > 1 && kInF32;  // both ways of computing several outs leave fewer registers
  constexpr int kFew = 4, kMany = kHalf ? 4 : 8, kPairs = kHalf ? 1 : 2;
  const int64_t begin = start / N + threadIdx.x;
  if (table.source_count <= kFew) {
#pragma unroll 1
    for (int k = 0; k < kVectors; k += kPairs) {
      const int64_t first = begin + k * kThreads;
      Raw<T, N> raw[kPairs][kFew];
#pragma unroll
      for (int v = 0; v < kPairs; v++) {
        load_sources(table, 0, first + v * kThreads, raw[v]);
      }
#pragma unroll
      for (int v = 0; v < kPairs; v++) {
        mix_vector<T, N, kOuts, kInF32>(table, in_f32, first + v * kThreads, Kept<T, N, kFew>{table, raw[v]});
      }
    }
  } else {
#pragma unroll 1
    for (int k = 0; k < kVectors; k++) {
      const int64_t vector = begin + k * kThreads;
      mix_vector<T, N, kOuts, kInF32>(table, in_f32, vector, Asked<T, N, kMany>{table, vector});
    }
  }
}

template <class T, bool kInF32>
__device__ __forceinline__ void mix(const MixJob* jobs, int32_t count) {
  __shared__ Table table;
  const Part part = part_of_block(jobs, count);
  if (!put_sources(part, table)) {
    mix_elements(part);
    return;
  }
  if (part.job.out_count == 1) {
    const bool in_f32 = put_outs(part.job, 0, table);
    mix_outs<T, kVector<T>, 1, kInF32>(table, in_f32, part.start);
    return;
  }
  for (int32_t first = 0; first < part.job.out_count; first += kOutsAtOnce) {
    if (first > 0) {
      __syncthreads();  // other warps may still make the outs before
    }
    const bool in_f32 = put_outs(part.job, first, table);
    // In vectors of four elements, so that registers hold the sums of all outs.
    mix_outs<T, 4, kOutsAtOnce, kInF32>(table, in_f32, part.start);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    laco_mix_any_v1(const MixJob* jobs, int32_t job_count) {
  mix_elements(part_of_block(jobs, job_count));
}
LACO_EXPORT(laco_mix_any_v1)

#define LACO_MIX(name, T, kInF32)                                          \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                \
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
