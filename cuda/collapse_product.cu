// Products with layers that are merged on the way: y = x (sum_j c_j W_j)^T for several candidates, which
// share the sources W_j and have coefficients, x and y of their own. No merged copy is written or read.
//
//   laco_collapse_product_<bf16|f16>_v1   any number of candidates, up to four for one reading of the sources
//   laco_collapse_product_<bf16|f16>_v2   one candidate: fewer registers, so two blocks per multiprocessor
//       grid (ceil(out_columns / 32), ceil(rows / 128)), block 256, shared memory 139264 and 106496 bytes
//
// Weights are what mix writes, bit for bit: f64, product rounded, sums in the order of the sources, rounded
// once. Products are summed in f32 in steps of 16, in one order. A coefficient of 0 leaves its source out.
//
// When it should win over mix and a library product, by arithmetic, for the bench to confirm. With L bytes of
// weights, S sources and G candidates, mix moves (S + G) L and the products G L more; this kernel moves S L
// for every four candidates: for the 0.4 GB of a layer of Llama-2-7B in bf16, S = 4 and 3 TB/s that is 0.54
// against 0.8 ms with one candidate, 0.54 against 1.6 ms with four. For each candidate and each 128 rows it
// computes 2 S products and sums and a rounding in f64 for each weight (0.13 ms at the 17 T/s of an H100)
// and the product itself (0.1 ms); mix has the first once and the library the second at twice the speed.
// With one candidate that is level at about 400 rows, with four at about 300; beyond, the two steps win.
// Cards with 1/64 of f32's rate in f64 (8.6, 8.9, 12.0) need more time for the sums than for the traffic at
// any number of rows; they have less shared memory than this takes, too.
#include "mma.cuh"

namespace {

using namespace laco;

constexpr int kThreads = 256;
constexpr int kColumns = 32;                      // of y, which are rows of the weights
constexpr int kRows = 128;
constexpr int kRowsOfWarp = 16;
constexpr int kSlab = 4;                          // sources that are copied and mixed at a time
static_assert(kRows == kThreads / kWarp * kRowsOfWarp);

template <class T>
struct Product {
  const T* const* weights;
  const double* coefficients;  // [candidates][sources]
  const T* const* x;
  float* const* y;
  int64_t rows, out_columns, in_columns;
  int sources;
};

// Shared memory: up to kGroup candidates, kDepth columns of x and the weights at a time. Sources lie in a ring of
// kStages slabs. A thread copies what it mixes itself and a warp the rows of x that it multiplies itself; only
// mixed tiles go from warp to warp.
template <class T, int kGroup, int kDepth, int kStages>
struct Tiles {
  static constexpr int kOwn = kColumns * kDepth / kThreads;  // elements of a tile of weights for each thread

  T sources[kStages][kSlab][kThreads][kOwn];
  T x[kStages][kGroup][kRows * kDepth];     // swizzled
  T weights[2][kGroup][kColumns * kDepth];  // mixed, swizzled; one is read while the other is written
};

// Whether vectors of x and the weights are aligned and, where a row ends, whole or absent.
template <class T>
__device__ __forceinline__ bool are_vectors(const Product<T>& p, int first, int candidates) {
  bool all = p.in_columns % 8 == 0;
  for (int j = 0; j < p.sources; j++) {
    all = all && aligned(p.weights[j], 16);
  }
  for (int c = 0; c < candidates; c++) {
    all = all && aligned(p.x[first + c], 16);
  }
  return all;
}

// kCount elements, of which the first `valid` are there, then zeros: vectors later, single elements now.
template <int kCount, bool kVectors, class T>
__device__ __forceinline__ void copy_some(Shared to, const T* from, int valid) {
  constexpr int kBytes = kCount * static_cast<int>(sizeof(T));
  if constexpr (kVectors) {
    copy_async<kBytes>(to, from, valid > 0 ? kBytes : 0);
  } else {
    for (int i = 0; i < kCount; i++) {
      static_cast<T*>(shared_pointer(to))[i] = i < valid ? from[i] : narrow<T>(0);
    }
  }
}

// Candidates first … first + candidates - 1.
template <class T, int kGroup, int kDepth, int kStages, bool kVectors>
__device__ __forceinline__ void multiply(const Product<T>& p, int first, int candidates) {
  using Shape = Tiles<T, kGroup, kDepth, kStages>;
  constexpr int kOwn = Shape::kOwn;
  LACO_DYNAMIC_SHARED(Shape, shared);
  Shape& tiles = *shared;

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp_row = thread / kWarp * kRowsOfWarp;
  // Blocks of the same columns run side by side: the second finds the sources in the L2 cache.
  const int64_t block = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
  const int64_t row = block % gridDim.y * kRows + warp_row;  // the warp's first
  const int64_t column = block / gridDim.y * kColumns;
  const int rows = static_cast<int>(min(p.rows - row, int64_t{kRowsOfWarp}));  // 0 or less: no work
  const int in_columns = static_cast<int>(p.in_columns);

  // The thread's place in a tile of weights, and in the matrix, where `own_valid` columns are left of its row.
  const int own_column = thread / (kDepth / kOwn), own_depth = thread % (kDepth / kOwn) * kOwn;
  const Shared own_place = shared_place(tiles.sources[0][0][thread]);
  const int64_t own_offset = (column + own_column) * p.in_columns + own_depth;
  const int own_valid = column + own_column < p.out_columns ? in_columns - own_depth : 0;
  // Its first place in a tile of x, of whose rows kLanes lanes copy one.
  constexpr int kLanes = kDepth / 8;
  const int x_row = lane / kLanes, x_depth = lane % kLanes * 8;
  const Shared x_place = shared_place(tiles.x[0][0]);
  const int64_t x_offset = (row + x_row) * p.in_columns + x_depth;

  // Slabs are asked for in the order of their use, with the last of a depth its tiles of x.
  int ask_depth = 0, ask_source = 0, ask_stage = 0, ask_x_stage = 0;
  auto ask = [&] {
    if (ask_depth < in_columns) {
      const Shared to = own_place + ask_stage * static_cast<int>(sizeof tiles.sources[0]);
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
        if (ask_source + j < p.sources) {
          copy_some<kOwn, kVectors>(to + j * static_cast<int>(sizeof tiles.sources[0][0]),
                                    global(p.weights[ask_source + j]) + own_offset + ask_depth,
                                    own_valid - ask_depth);
        }
      }
      ask_stage = ask_stage + 1 < kStages ? ask_stage + 1 : 0;
      ask_source += kSlab;
      if (ask_source >= p.sources) {
#pragma unroll
        for (int c = 0; c < kGroup; c++) {
          if (c < candidates) {
            const Shared to_x = x_place + (ask_x_stage * kGroup + c) * static_cast<int>(sizeof tiles.x[0][0]);
            const T* from = global(p.x[first + c]) + x_offset + ask_depth;
#pragma unroll
            for (int i = x_row; i < kRowsOfWarp; i += kWarp / kLanes) {
              copy_some<8, kVectors>(to_x + 2 * swizzled<kDepth>(warp_row + i, x_depth), from,
                                     i < rows ? in_columns - ask_depth - x_depth : 0);
              from += kWarp / kLanes * p.in_columns;
            }
          }
        }
        ask_x_stage = ask_x_stage + 1 < kStages ? ask_x_stage + 1 : 0;
        ask_source = 0;
        ask_depth += kDepth;
      }
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; i++) {
    ask();
  }

  float sums[kGroup][kColumns / 8][4] = {};
  int stage = 0, x_stage = 0, buffer = 0;
  for (int depth = 0; depth < in_columns; depth += kDepth) {
    double mixed[kGroup][kOwn];
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
#pragma unroll
      for (int i = 0; i < kOwn; i++) {
        mixed[c][i] = -0.0;  // leaves the first term as it is, even a -0
      }
    }
    for (int source = 0; source < p.sources; source += kSlab) {
      double coefficients[kSlab][kGroup];
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
#pragma unroll
        for (int c = 0; c < kGroup; c++) {
          coefficients[j][c] = 0;
          if (source + j < p.sources && c < candidates) {
            coefficients[j][c] = p.coefficients[int64_t{first + c} * p.sources + source + j];
          }
        }
      }
      wait_copies<kStages - 2>();
      ask();
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
        const T* const own = tiles.sources[stage][j][thread];
        double wide[kOwn];
#pragma unroll
        for (int i = 0; i < kOwn; i += 4) {
          const float4 four = load4(own + i);
          wide[i] = four.x, wide[i + 1] = four.y, wide[i + 2] = four.z, wide[i + 3] = four.w;
        }
#pragma unroll
        for (int c = 0; c < kGroup; c++) {
          if (coefficients[j][c] != 0) {
#pragma unroll
            for (int i = 0; i < kOwn; i++) {
              mixed[c][i] = __dadd_rn(mixed[c][i], __dmul_rn(coefficients[j][c], wide[i]));
            }
          }
        }
      }
      stage = stage + 1 < kStages ? stage + 1 : 0;
    }
    T(&weights)[kGroup][kColumns * kDepth] = tiles.weights[buffer];
    buffer ^= 1;
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
      if (c < candidates) {
        float rounded[kOwn];
        round_for<T>(mixed[c], rounded);
#pragma unroll
        for (int i = 0; i < kOwn; i += 4) {
          store4(weights[c] + swizzled<kDepth>(own_column, own_depth) + i,
                 make_float4(rounded[i], rounded[i + 1], rounded[i + 2], rounded[i + 3]));
        }
      }
    }
    __syncthreads();

    if (rows > 0) {
#pragma unroll
      for (int c = 0; c < kGroup; c++) {
        if (c < candidates) {
          const Shared x = shared_place(tiles.x[x_stage][c]), w = shared_place(weights[c]);
#pragma unroll
          for (int k = 0; k < kDepth; k += 16) {
            uint32_t a[4];
            load_matrices(a, x + 2 * swizzled<kDepth>(warp_row + lane % 16, k + lane / 16 * 8));
#pragma unroll
            for (int n = 0; n < kColumns; n += 16) {
              uint32_t b[4];
              load_matrices(b, w + 2 * swizzled<kDepth>(n + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 8));
              multiply_add<T>(sums[c][n / 8], a, b[0], b[1]);
              multiply_add<T>(sums[c][n / 8 + 1], a, b[2], b[3]);
            }
          }
        }
      }
    }
    x_stage = x_stage + 1 < kStages ? x_stage + 1 : 0;
  }

#pragma unroll
  for (int c = 0; c < kGroup; c++) {
    if (c < candidates) {
      float* const y = global(p.y[first + c]);
#pragma unroll
      for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int in_warp = lane / 4 + i / 2 * 8;
          const int64_t to_column = column + n * 8 + lane % 4 * 2 + i % 2;
          if (in_warp < rows && to_column < p.out_columns) {
            y[(row + in_warp) * p.out_columns + to_column] = sums[c][n][i];
          }
        }
      }
    }
  }
}

template <class T, int kGroup, int kDepth, int kStages>
__device__ __forceinline__ void multiply(const Product<T>& p, int first, int candidates) {
  if (are_vectors(p, first, candidates)) {
    multiply<T, kGroup, kDepth, kStages, true>(p, first, candidates);
  } else {
    multiply<T, kGroup, kDepth, kStages, false>(p, first, candidates);
  }
}

template <class T>
__device__ __forceinline__ void multiply_all(const Product<T>& p, int candidates) {
  for (int first = 0; first < candidates; first += 4) {
    const int count = min(4, candidates - first);
    if (first > 0) {
      __syncthreads();  // other warps may still multiply the tiles of the group before
    }
    if (count <= 2) {
      multiply<T, 2, 32, 5>(p, first, count);
    } else {
      multiply<T, 4, 32, 3>(p, first, count);
    }
  }
}

// What the first comment tells the host to give.
static_assert(sizeof(Tiles<__half, 4, 32, 3>) == 139264 && sizeof(Tiles<__half, 2, 32, 5>) <= 139264);
static_assert(sizeof(Tiles<__half, 1, 64, 3>) == 106496);

}  // namespace

#define LACO_COLLAPSE_PRODUCT(name, T, blocks, ...)                                                  \
  extern "C" __global__ void __launch_bounds__(kThreads, blocks)                                     \
      name(const T* const* weights, const double* coefficients, const T* const* x, float* const* y,  \
           int64_t rows, int64_t out_columns, int64_t in_columns, int32_t sources,                   \
           [[maybe_unused]] int32_t candidates) {                                                    \
    const Product<T> p{weights, coefficients, x, y, rows, out_columns, in_columns, sources};         \
    __VA_ARGS__;                                                                                     \
  }                                                                                                  \
  LACO_EXPORT(name)

LACO_COLLAPSE_PRODUCT(laco_collapse_product_bf16_v1, __nv_bfloat16, 1, multiply_all(p, candidates))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_f16_v1, __half, 1, multiply_all(p, candidates))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_bf16_v2, __nv_bfloat16, 2, multiply<__nv_bfloat16, 1, 64, 3>(p, 0, 1))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_f16_v2, __half, 2, multiply<__half, 1, 64, 3>(p, 0, 1))
