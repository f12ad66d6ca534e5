// Product with a layer that is merged on the way: y = x (sum_j c_j W_j)^T. No merged copy is written or read.
//
//   laco_collapse_product_<bf16|f16>_v2
//       grid (ceil(out_columns / 32), ceil(rows / 128)), block 256, shared memory 106496 bytes
//
// Weights equal those that mix writes, apart from the sign of a 0: in f64 each product is rounded, products are
// added in the order of the sources, and the sum is rounded once. Products are summed in f32 in steps of 16, in one
// order. A coefficient of 0 leaves its source out.
//
// When this kernel should be faster than mix and a library product, by arithmetic that the bench has to confirm. With
// weights of L bytes and S sources mix moves (S + 1) L and the product L more; this kernel moves S L. For a layer of
// Llama-2-7B in bf16 (0.4 GB), S = 4 and 3 TB/s that is 0.54 against 0.8 ms. But for every 128 rows it does again what
// mix does once: S conversions to f64 for each weight (0.22 ms at the 3.7 T/s of an H100) and 2 S f64 operations (0.1 ms
// at 17 T/s); and its products run at about half the library's speed (0.1 ms for 128 rows). So it is faster up to 128
// rows; from 250 to 400 rows on the two steps are faster. An A100 has room for one block a multiprocessor and half of an
// H100's f64: faster up to 128 rows only (docs/kernels.md). Cards with 1/64 of f32's rate in f64 (8.6, 8.9, 12.0) spend
// more on the sums than on the traffic at any number of rows; they have less shared memory than this takes, too.
#include "mma.cuh"

namespace {

using namespace laco;

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // of y, which are rows of the weights
constexpr int kRows = 128;
constexpr int kRowsOfWarp = 16;
constexpr int kDepth = 64;  // columns of x and of the weights at a time
constexpr int kSlab = 4;    // sources that are copied and mixed at a time
constexpr int kStages = 3;  // slabs in shared memory
static_assert(kRows == kThreads / kWarp * kRowsOfWarp);

template <class T>
struct Product {
  const T* const* weights;
  const double* coefficients;
  const T* x;
  Activations y;
  int64_t rows, out_columns, in_columns;
  int sources;
};

// Shared memory. Sources lie in a ring of slabs. A thread copies what it mixes itself and a warp the rows of x that it
// multiplies itself; only mixed tiles go from warp to warp.
template <class T>
struct Tiles {
  static constexpr int kOwn = kColumns * kDepth / kThreads;  // elements of a tile of weights for each thread

  T sources[kStages][kSlab][kThreads][kOwn];
  T x[kStages][kRows * kDepth];     // swizzled
  T weights[2][kColumns * kDepth];  // mixed, swizzled; one is read while the other is written
};

// Whether all 16-byte vectors of x and of the weights are aligned, and rows are made of whole vectors.
template <class T>
__device__ __forceinline__ bool are_vectors(const Product<T>& p) {
  bool all = p.in_columns % 8 == 0 && aligned(p.x, 16);
  for (int j = 0; j < p.sources; j++) {
    all = all && aligned(p.weights[j], 16);
  }
  return all;
}

// The work of a block.
template <class T, bool kVectors>
struct Block {
  using Memory = Tiles<T>;
  static constexpr int kOwn = Memory::kOwn;
  static constexpr int kLanes = kDepth / 8;  // that copy a row of x
  static constexpr int kRowStep = kWarp / kLanes;

  const Product<T>& p;
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

  __device__ __forceinline__ Block(const Product<T>& product, Memory& memory)
      : p(product),
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
    x_place = shared_place(tiles.x[0]);
    x_offset = (row + x_row) * p.in_columns + x_depth;
  }

  __device__ static int next(int stage) { return stage + 1 < kStages ? stage + 1 : 0; }

  // Begins to copy a slab, in the order of their use: all sources of a depth, with the last of them the tile of
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
    const Shared to = x_place + ask_x_stage * static_cast<int>(sizeof tiles.x[0]);
    const T* from = global(p.x) + x_offset + ask_depth;
#pragma unroll
    for (int i = x_row; i < kRowsOfWarp; i += kRowStep) {
      copy_some<8, kVectors>(to + 2 * swizzled<kDepth>(warp_row + i, x_depth), from,
                             i < rows ? in_columns - ask_depth - x_depth : 0);
      from += kRowStep * p.in_columns;
    }
  }

  // Of the slab that begins with `source`; 0 for what is not there.
  __device__ __forceinline__ void read_coefficients(int source, double (&coefficients)[kSlab]) const {
#pragma unroll
    for (int j = 0; j < kSlab; j++) {
      coefficients[j] = source + j < p.sources ? p.coefficients[source + j] : 0;
    }
  }

  __device__ __forceinline__ void mix(int stage, const double (&coefficients)[kSlab], double (&mixed)[kOwn]) const {
#pragma unroll
    for (int j = 0; j < kSlab; j++) {
      if (coefficients[j] != 0) {
#pragma unroll
        for (int i = 0; i < kOwn; i += 4) {
          const float4 four = load4(tiles.sources[stage][j][thread] + i);
          const float source[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
          for (int k = 0; k < 4; k++) {
            mixed[i + k] = __dadd_rn(mixed[i + k], __dmul_rn(coefficients[j], static_cast<double>(source[k])));
          }
        }
      }
    }
  }

  __device__ __forceinline__ void put_weights(const double (&mixed)[kOwn], int buffer) const {
    float rounded[kOwn];
    round_for<T>(mixed, rounded);
    T* const to = tiles.weights[buffer] + swizzled<kDepth>(own_column, own_depth);
#pragma unroll
    for (int i = 0; i < kOwn; i += 4) {
      store4(to + i, make_float4(rounded[i], rounded[i + 1], rounded[i + 2], rounded[i + 3]));
    }
  }

  __device__ __forceinline__ void multiply(int x_stage, int buffer, float (&sums)[kColumns / 8][4]) const {
    const Shared x = shared_place(tiles.x[x_stage]), weights = shared_place(tiles.weights[buffer]);
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t a[4];
      load_matrices(a, x + 2 * swizzled<kDepth>(warp_row + lane % 16, k + lane / 16 * 8));
#pragma unroll
      for (int n = 0; n < kColumns; n += 16) {
        uint32_t b[4];
        load_matrices(b, weights + 2 * swizzled<kDepth>(n + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 8));
        multiply_add<T>(sums[n / 8], a, b[0], b[1]);
        multiply_add<T>(sums[n / 8 + 1], a, b[2], b[3]);
      }
    }
  }

  __device__ __forceinline__ void write(const float (&sums)[kColumns / 8][4]) const {
#pragma unroll
    for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int in_warp = lane / 4 + i / 2 * 8;
        const int64_t to_column = column + n * 8 + lane % 4 * 2 + i % 2;
        if (in_warp < rows && to_column < p.out_columns) {
          store(p.y, (row + in_warp) * p.out_columns + to_column, Floats<1>{{sums[n][i]}});
        }
      }
    }
  }

  __device__ __forceinline__ void run() {
#pragma unroll
    for (int i = 0; i < kStages - 1; i++) {
      ask();
    }
    float sums[kColumns / 8][4] = {};
    int stage = 0, x_stage = 0, buffer = 0;
    for (int depth = 0; depth < in_columns; depth += kDepth) {
      double mixed[kOwn] = {};
      for (int source = 0; source < p.sources; source += kSlab) {
        double coefficients[kSlab];
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
      // Orders this warp's reads of x before the copies by which other lanes overwrite it, as PTX's memory model asks.
      __syncwarp();
      x_stage = next(x_stage);
      buffer ^= 1;
    }
    write(sums);
  }
};

template <class T>
__device__ __forceinline__ void multiply(const Product<T>& p) {
  using Memory = Tiles<T>;
  LACO_DYNAMIC_SHARED(Memory, tiles);
  if (are_vectors(p)) {
    Block<T, true>(p, *tiles).run();
  } else {
    Block<T, false>(p, *tiles).run();
  }
}

// The launch parameter that the first comment names.
static_assert(sizeof(Tiles<__half>) == 106496);

}  // namespace

// The type of y is named by its code.
#define LACO_COLLAPSE_PRODUCT(name, T)                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                                          \
      name(const T* const* weights, const double* coefficients, const T* x, void* y, int64_t rows,   \
           int64_t out_columns, int64_t in_columns, int32_t sources, int32_t type) {                 \
    multiply(Product<T>{weights, coefficients, x, {y, type}, rows, out_columns, in_columns, sources}); \
  }                                                                                                  \
  LACO_EXPORT(name)

LACO_COLLAPSE_PRODUCT(laco_collapse_product_bf16_v2, __nv_bfloat16)
LACO_COLLAPSE_PRODUCT(laco_collapse_product_f16_v2, __half)
