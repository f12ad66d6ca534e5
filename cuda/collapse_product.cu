// Products with layers that are merged on the way: y = x (sum_j c_j W_j)^T for several candidates, which
// share the sources W_j and have coefficients, x and y of their own. No merged copy is written or read.
//
//   laco_collapse_product_<bf16|f16>_v1   any number of candidates, up to four for one reading of the sources
//   laco_collapse_product_<bf16|f16>_v2   one candidate: fewer registers, so two blocks per multiprocessor
//       grid (ceil(out_columns / 32), ceil(rows / 128)), block 256, shared memory 139264 and 106496 bytes
//
// Weights equal those that mix writes, apart from the sign of a 0: in f64 each product is rounded, products are
// added in the order of the sources, and the sum is rounded once. Products are summed in f32 in steps of 16, in one
// order. A coefficient of 0 leaves its source out.
//
// When this kernel should be faster than mix and a library product, by arithmetic that the bench has to confirm. With
// weights of L bytes, S sources and G candidates mix moves (S + G) L and the products G L more; this kernel moves S L
// for every four candidates. For a layer of Llama-2-7B in bf16 (0.4 GB), S = 4 and 3 TB/s that is 0.54 against 0.8 ms
// with one candidate, and against 1.6 ms with four. But for every 128 rows it does again what mix does once: S
// conversions to f64 for each weight (0.22 ms at the 3.7 T/s of an H100), and for each candidate 2 S f64 operations
// (0.1 ms at 17 T/s); and its products run at about half the library's speed (0.1 ms for 128 rows). So it is faster
// up to 128 rows, and more so with more candidates; from 250 to 400 rows on the two steps are faster. Cards with 1/64
// of f32's rate in f64 (8.6, 8.9, 12.0) spend more on the sums than on the traffic at any number of rows; they have
// less shared memory than this takes, too.
#include "mma.cuh"

namespace {

using namespace laco;

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // of y, which are rows of the weights
constexpr int kRows = 128;
constexpr int kRowsOfWarp = 16;
constexpr int kSlab = 4;  // sources that are copied and mixed at a time
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

// Whether all 16-byte vectors of x and of the weights are aligned, and rows are made of whole vectors.
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

// Copies kCount elements, the first `valid` from memory, the others zeros. Vectors are copied asynchronously, single
// elements at once.
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

// The work of a block for candidates first … first + candidates - 1.
template <class T, int kGroup, int kDepth, int kStages, bool kVectors>
struct Block {
  using Memory = Tiles<T, kGroup, kDepth, kStages>;
  static constexpr int kOwn = Memory::kOwn;
  static constexpr int kLanes = kDepth / 8;  // that copy a row of x
  static constexpr int kRowStep = kWarp / kLanes;

  const Product<T>& p;
  const int first, candidates;
  Memory& tiles;
  const int thread, lane, warp_row;
  const int in_columns;
  int64_t row;     // the warp's first
  int64_t column;  // the block's first
  int rows;        // of the warp; 0 or less: none

  // The thread's place in a tile of weights and in the matrix; `own_valid` columns of its row follow that place.
  const int own_column, own_depth;
  Shared own_place;
  int64_t own_offset;
  int own_valid;
  // The thread's first place in a tile of x.
  const int x_row, x_depth;
  Shared x_place;
  int64_t x_offset;

  // The next slab to be copied, and its place in the ring.
  int ask_depth = 0, ask_source = 0, ask_stage = 0, ask_x_stage = 0;

  __device__ __forceinline__ Block(const Product<T>& product, int first_candidate, int count, Memory& memory)
      : p(product),
        first(first_candidate),
        candidates(count),
        tiles(memory),
        thread(static_cast<int>(threadIdx.x)),
        lane(thread % kWarp),
        warp_row(thread / kWarp * kRowsOfWarp),
        in_columns(static_cast<int>(p.in_columns)),
        own_column(thread / (kDepth / kOwn)),
        own_depth(thread % (kDepth / kOwn) * kOwn),
        x_row(lane / kLanes),
        x_depth(lane % kLanes * 8) {
    // Blocks of the same columns run side by side: the second finds the sources in the L2 cache.
    const int64_t block = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
    row = block % gridDim.y * kRows + warp_row;
    column = block / gridDim.y * kColumns;
    rows = static_cast<int>(min(p.rows - row, int64_t{kRowsOfWarp}));
    own_place = shared_place(tiles.sources[0][0][thread]);
    own_offset = (column + own_column) * p.in_columns + own_depth;
    own_valid = column + own_column < p.out_columns ? in_columns - own_depth : 0;
    x_place = shared_place(tiles.x[0][0]);
    x_offset = (row + x_row) * p.in_columns + x_depth;
  }

  __device__ static int next(int stage) { return stage + 1 < kStages ? stage + 1 : 0; }

  // Begins to copy a slab, in the order of their use: all sources of a depth, with the last of them the tiles of
  // x. Every call makes a group of copies, even an empty one, so that groups can be counted.
  __device__ __forceinline__ void ask() {
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
      ask_stage = next(ask_stage);
      ask_source += kSlab;
      if (ask_source >= p.sources) {
        ask_x();
        ask_x_stage = next(ask_x_stage);
        ask_source = 0;
        ask_depth += kDepth;
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void ask_x() {
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
      if (c < candidates) {
        const Shared to = x_place + (ask_x_stage * kGroup + c) * static_cast<int>(sizeof tiles.x[0][0]);
        const T* from = global(p.x[first + c]) + x_offset + ask_depth;
#pragma unroll
        for (int i = x_row; i < kRowsOfWarp; i += kRowStep) {
          copy_some<8, kVectors>(to + 2 * swizzled<kDepth>(warp_row + i, x_depth), from,
                                 i < rows ? in_columns - ask_depth - x_depth : 0);
          from += kRowStep * p.in_columns;
        }
      }
    }
  }

  // Of the slab that begins with `source`; 0 for what is not there.
  __device__ __forceinline__ void read_coefficients(int source, double (&coefficients)[kSlab][kGroup]) const {
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
  }

  __device__ __forceinline__ void mix(int stage, const double (&coefficients)[kSlab][kGroup],
                                      double (&mixed)[kGroup][kOwn]) const {
#pragma unroll
    for (int j = 0; j < kSlab; j++) {
      double source[kOwn];
#pragma unroll
      for (int i = 0; i < kOwn; i += 4) {
        const float4 four = load4(tiles.sources[stage][j][thread] + i);
        source[i] = four.x, source[i + 1] = four.y, source[i + 2] = four.z, source[i + 3] = four.w;
      }
#pragma unroll
      for (int c = 0; c < kGroup; c++) {
        if (coefficients[j][c] != 0) {
#pragma unroll
          for (int i = 0; i < kOwn; i++) {
            mixed[c][i] = __dadd_rn(mixed[c][i], __dmul_rn(coefficients[j][c], source[i]));
          }
        }
      }
    }
  }

  __device__ __forceinline__ void put_weights(const double (&mixed)[kGroup][kOwn], int buffer) const {
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
      if (c < candidates) {
        float rounded[kOwn];
        round_for<T>(mixed[c], rounded);
        T* const to = tiles.weights[buffer][c] + swizzled<kDepth>(own_column, own_depth);
#pragma unroll
        for (int i = 0; i < kOwn; i += 4) {
          store4(to + i, make_float4(rounded[i], rounded[i + 1], rounded[i + 2], rounded[i + 3]));
        }
      }
    }
  }

  __device__ __forceinline__ void multiply(int x_stage, int buffer, float (&sums)[kGroup][kColumns / 8][4]) const {
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
      if (c < candidates) {
        const Shared x = shared_place(tiles.x[x_stage][c]), weights = shared_place(tiles.weights[buffer][c]);
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
          uint32_t a[4];
          load_matrices(a, x + 2 * swizzled<kDepth>(warp_row + lane % 16, k + lane / 16 * 8));
#pragma unroll
          for (int n = 0; n < kColumns; n += 16) {
            uint32_t b[4];
            load_matrices(b, weights + 2 * swizzled<kDepth>(n + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 8));
            multiply_add<T>(sums[c][n / 8], a, b[0], b[1]);
            multiply_add<T>(sums[c][n / 8 + 1], a, b[2], b[3]);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void write(const float (&sums)[kGroup][kColumns / 8][4]) const {
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

  __device__ __forceinline__ void run() {
#pragma unroll
    for (int i = 0; i < kStages - 1; i++) {
      ask();
    }
    float sums[kGroup][kColumns / 8][4] = {};
    int stage = 0, x_stage = 0, buffer = 0;
    for (int depth = 0; depth < in_columns; depth += kDepth) {
      double mixed[kGroup][kOwn] = {};
      for (int source = 0; source < p.sources; source += kSlab) {
        double coefficients[kSlab][kGroup];
        read_coefficients(source, coefficients);
        wait_copies<kStages - 2>();
        ask();
        mix(stage, coefficients, mixed);
        stage = next(stage);
      }
      put_weights(mixed, buffer);
      __syncthreads();
      if (rows > 0) {
        multiply(x_stage, buffer, sums);
      }
      x_stage = next(x_stage);
      buffer ^= 1;
    }
    write(sums);
  }
};

template <class T, int kGroup, int kDepth, int kStages>
__device__ __forceinline__ void multiply(const Product<T>& p, int first, int candidates) {
  using Memory = Tiles<T, kGroup, kDepth, kStages>;
  LACO_DYNAMIC_SHARED(Memory, tiles);
  if (are_vectors(p, first, candidates)) {
    Block<T, kGroup, kDepth, kStages, true>(p, first, candidates, *tiles).run();
  } else {
    Block<T, kGroup, kDepth, kStages, false>(p, first, candidates, *tiles).run();
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

// The launch parameters that the first comment names.
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
