// Batched cosine similarity: the sums from which the host makes one cosine per sequence and candidate.
//
// Products and runs of kRun of them are f32, everything beyond is f64. Which thread adds what depends on
// the shape alone, so the bits are the same every time.
//
//   laco_cosine_f32_v2         many tensors against one reference, all candidates of a trial in one launch. Per
//                              element and candidate 8 bytes, of which 4 are the reference's, which all
//                              candidates share in the L2, and 3 multiply-adds: bound by memory everywhere.
//                              Candidates are neighbours in the grid: the blocks that read one part of the
//                              reference run together, and it comes from DRAM once.
//   laco_cosine_pairs_f32_v2   every tensor with every other, for similarity analysis. A tile of 4 x 4 tensors
//                              takes 16 multiply-adds for 32 bytes.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // vectors that are loaded at once per tensor; their 16 elements are a run
constexpr int kTile = 4;    // tensors of a side of a tile

// Elements of a part of a sequence, as offsets into a tensor [T, columns].
struct Span {
  int64_t start;
  int64_t end;
};

// Parts begin at a multiple of four elements from the sequence's beginning. Parts are the second dimension of the grid,
// sequences the third.
__device__ __forceinline__ Span span_of_block(const int32_t* offsets, int64_t columns) {
  const int64_t begin = offsets[blockIdx.z] * columns;
  const int64_t count = offsets[blockIdx.z + 1] * columns - begin;
  const int64_t quads = (count + 3) / 4;
  const int64_t parts = gridDim.y;
  const int64_t each = (quads + parts - 1) / parts * 4;
  const int64_t start = min(each * blockIdx.y, count);
  return {begin + start, begin + min(start + each, count)};
}

// Loads by the read-only path: for compute capability 10 and 12, ptxas splits other vector loads.
__device__ __forceinline__ float4 read(const float* p) { return __ldg(reinterpret_cast<const float4*>(p)); }

__device__ __forceinline__ float dot(float4 a, float4 b, float sum) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  return fmaf(a.w, b.w, sum);
}

// Adds the products of a run of N vectors to a.b, a.a, b.b.
template <int N>
__device__ __forceinline__ void add_run(const float4 (&a)[N], const float4 (&b)[N], double (&sums)[3]) {
  float ab = 0, aa = 0, bb = 0;
#pragma unroll
  for (int k = 0; k < N; k++) {
    ab = dot(a[k], b[k], ab);
    aa = dot(a[k], a[k], aa);
    bb = dot(b[k], b[k], bb);
  }
  sums[0] += static_cast<double>(ab);
  sums[1] += static_cast<double>(aa);
  sums[2] += static_cast<double>(bb);
}

}  // namespace

// partial[((candidate * sequences + sequence) * parts + part) * 3 + {0, 1, 2}]: a.b, a.a, b.b of a candidate a
// and the reference b over a part of a sequence. grid (candidates, parts, sequences): parts of 4096
// elements keep every thread busy once.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_cosine_f32_v2(const float* const* others, const float* reference, const int32_t* offsets,
                       double* partial, int64_t columns, int32_t sequences) {
  const Span span = span_of_block(offsets, columns);
  const float* a = global(others[blockIdx.x]) + span.start;
  const float* b = reference + span.start;
  const int64_t count = span.end - span.start;
  const int64_t vectors = aligned4(a) && aligned4(b) ? count / 4 : 0;
  double sums[3] = {0, 0, 0};
  int64_t v = threadIdx.x;
  for (; v + (kUnroll - 1) * kThreads < vectors; v += kUnroll * kThreads) {
    float4 x[kUnroll], y[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
      x[k] = read(a + 4 * (v + k * kThreads));
      y[k] = read(b + 4 * (v + k * kThreads));
    }
    add_run(x, y, sums);
  }
  for (; v < vectors; v += kThreads) {
    const float4 x[1] = {read(a + 4 * v)}, y[1] = {read(b + 4 * v)};
    add_run(x, y, sums);
  }
  for (int64_t i = 4 * vectors + threadIdx.x; i < count; i += kThreads) {
    sums[0] += static_cast<double>(a[i] * b[i]);
    sums[1] += static_cast<double>(a[i] * a[i]);
    sums[2] += static_cast<double>(b[i] * b[i]);
  }
  __shared__ double scratch[kMostWarps][3];
  sum_warps(sums, scratch);
  if (threadIdx.x < 3) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * sequences + blockIdx.z;
    partial[(row * gridDim.y + blockIdx.y) * 3 + threadIdx.x] = sum_of_warps(scratch, threadIdx.x);
  }
}
LACO_EXPORT(laco_cosine_f32_v2)

// partial[((sequence * states + i) * states + j) * parts + part], i <= j: the dot product of states i and j over
// a part of a sequence; i = j gives the squared norm. grid (t (t + 1) / 2, parts, sequences), t =
// ceil(states / 4): the tiles on and above the diagonal, row by row.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_cosine_pairs_f32_v2(const float* const* states, const int32_t* offsets, double* partial,
                             int64_t columns, int32_t count) {
  const int32_t tiles = (count + kTile - 1) / kTile;
  int32_t row = 0;
  int32_t column = static_cast<int32_t>(blockIdx.x);
  while (column >= tiles - row) {
    column -= tiles - row;
    row++;
  }
  column += row;

  const Span span = span_of_block(offsets, columns);
  const int64_t elements = span.end - span.start;
  const float* a[kTile];
  const float* b[kTile];
  bool vectorized = true;
#pragma unroll
  for (int k = 0; k < kTile; k++) {
    // In the place of tensors beyond the last one, the last one is used again.
    a[k] = global(states[min(row * kTile + k, count - 1)]) + span.start;
    b[k] = global(states[min(column * kTile + k, count - 1)]) + span.start;
    vectorized &= aligned4(a[k]) && aligned4(b[k]);
  }
  const int64_t vectors = vectorized ? elements / 4 : 0;
  double sums[kTile * kTile];
#pragma unroll
  for (int k = 0; k < kTile * kTile; k++) {
    sums[k] = 0;
  }
  for (int64_t first = threadIdx.x; first < vectors; first += kUnroll * kThreads) {
    float run[kTile * kTile] = {};
    const int64_t end = min(first + kUnroll * kThreads, vectors);
#pragma unroll 1
    for (int64_t v = first; v < end; v += kThreads) {
      float4 x[kTile], y[kTile];
#pragma unroll
      for (int i = 0; i < kTile; i++) {
        x[i] = read(a[i] + 4 * v);
        y[i] = read(b[i] + 4 * v);
      }
#pragma unroll
      for (int i = 0; i < kTile * kTile; i++) {
        run[i] = dot(x[i / kTile], y[i % kTile], run[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kTile * kTile; i++) {
      sums[i] += static_cast<double>(run[i]);
    }
  }
  for (int64_t e = 4 * vectors + threadIdx.x; e < elements; e += kThreads) {
#pragma unroll
    for (int i = 0; i < kTile * kTile; i++) {
      sums[i] += static_cast<double>(a[i / kTile][e] * b[i % kTile][e]);
    }
  }
  __shared__ double scratch[kMostWarps][kTile * kTile];
  sum_warps(sums, scratch);
  const int32_t k = static_cast<int32_t>(threadIdx.x);
  const int64_t i = row * kTile + k / kTile;
  const int64_t j = column * kTile + k % kTile;
  if (k < kTile * kTile && i <= j && j < count) {
    partial[((blockIdx.z * count + i) * count + j) * gridDim.y + blockIdx.y] =
        sum_of_warps(scratch, threadIdx.x);
  }
}
LACO_EXPORT(laco_cosine_pairs_f32_v2)
