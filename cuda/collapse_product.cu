// Products with layers that are merged on the way: y = x (sum_j c_j W_j)^T for several candidates, which
// share the sources W_j and have coefficients, x and y of their own. No merged copy is written or read.
//
//   laco_collapse_product_<bf16|f16>_v1
//       grid (ceil(out_columns / 32), ceil(rows / 128)), block 256, shared memory 98304 bytes
//
// Weights are what mix writes, bit for bit: f64, product rounded, sums in the order of the sources, rounded
// once. Products are summed in f32 in steps of 16, in one order. A coefficient of 0 leaves its source out.
//
// When it wins. Let L be the bytes of the weights, S the sources, G the candidates, R the rows. mix moves
// (S + G) L and the products G L more; this kernel moves S L for every four candidates and every 128 rows,
// the latter mostly from the L2 cache. Rows up to 128 cost nothing else that counts: with S = 4 and L = 0.4
// GB, a layer of 7B parameters' kind, and 3 TB/s, that is 0.54 against 0.81 ms for one candidate and 0.54
// against 1.6 ms for four. Against it stand, for each candidate and each 128 rows, 2 S + 1 f64 operations
// for each weight (0.11 ms at the 17 T/s of an H100) and the product itself (0.1 ms): from about 400 rows on
// mix and a library product, which do this once, must be quicker. On cards with few f64 units (compute
// capability 8.6, 8.9, 12.0: a 64th of f32) the operations outweigh the traffic at any number of rows.
// All of this is arithmetic; the bench decides.
#include "mma.cuh"

namespace {

using namespace laco;

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // of y, which are rows of the weights
constexpr int kRows = 128;    // 16 for each warp
constexpr int kDepth = 32;    // of the input columns, at a time
constexpr int kSlab = 4;      // sources at a time
constexpr int kOwn = kColumns * kDepth / kThreads;  // elements of a tile of weights that a thread mixes
static_assert(kOwn == 4 && kRows == kThreads / kWarp * 16);

template <class T>
struct Product {
  const T* const* weights;
  const double* coefficients;  // [candidates][sources]
  const T* const* x;
  float* const* y;
  int64_t rows, out_columns, in_columns;
  int sources;
};

// kCount elements, of which the first `valid` are there, then zeros: later where the address allows it,
// now elsewhere.
template <int kCount, class T>
__device__ __forceinline__ void copy_some(T* to, const T* from, int64_t valid) {
  const int count = static_cast<int>(valid < 0 ? 0 : valid < kCount ? valid : kCount);
  if (aligned(from, kCount * sizeof(T))) {
    copy_async<kCount * static_cast<int>(sizeof(T))>(shared_place(to), from, count * static_cast<int>(sizeof(T)));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      to[i] = i < count ? from[i] : narrow<T>(0);
    }
  }
}

// Up to kGroup candidates. The tiles of the sources lie in a ring of slabs: kSlab sources of one depth. A
// thread copies what it mixes itself, and of x a warp what it multiplies itself, so that only the mixed
// tiles are awaited by all.
template <class T, int kGroup, int kStages>
struct Ring {
  T sources[kStages][kSlab][kThreads][kOwn];
  T x[kStages][kGroup][kRows * kDepth];  // swizzled; by depth
  T mixed[2][kGroup][kColumns * kDepth];  // swizzled; by depth
};

template <class T, int kGroup, int kStages>
__device__ __forceinline__ void multiply(const Product<T>& p, int first, int candidates) {
  LACO_DYNAMIC_SHARED(unsigned char, shared);
  using Tiles = Ring<T, kGroup, kStages>;
  static_assert(sizeof(Tiles) <= 98304);
  Tiles& tiles = *reinterpret_cast<Tiles*>(shared);

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int warp_row = thread / kWarp * 16;
  // Blocks of the same columns run side by side and find the sources in the L2 cache.
  const int64_t block = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
  const int64_t row = block % gridDim.y * kRows;
  const int64_t column = block / gridDim.y * kColumns;

  // The thread's place in a tile of weights.
  const int own_column = thread / (kDepth / kOwn), own_depth = thread % (kDepth / kOwn) * kOwn;
  const bool own_real = column + own_column < p.out_columns;
  const int64_t own_offset = (column + own_column) * p.in_columns + own_depth;

  const int slabs = (p.sources + kSlab - 1) / kSlab;
  const int64_t depths = (p.in_columns + kDepth - 1) / kDepth;

  // Slabs are asked for in the order of their use: sources within depth, the last with its tiles of x.
  int64_t ask_depth = 0;
  int ask_slab = 0, ask_stage = 0, ask_x_stage = 0;
  auto ask = [&] {
    if (ask_depth < depths) {
      const int64_t start = ask_depth * kDepth;
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
        const int source = ask_slab * kSlab + j;
        if (source < p.sources) {
          copy_some<kOwn>(tiles.sources[ask_stage][j][thread], global(p.weights[source]) + own_offset + start,
                          own_real ? p.in_columns - start - own_depth : 0);
        }
      }
      if (++ask_slab == slabs) {
#pragma unroll
        for (int c = 0; c < kGroup; c++) {
#pragma unroll
          for (int i = 0; i < 16; i += 8) {
            const int tile_row = warp_row + lane / 4 + i, tile_depth = lane % 4 * 8;
            if (c < candidates) {
              copy_some<8>(tiles.x[ask_x_stage][c] + swizzled<kDepth>(tile_row, tile_depth),
                           global(p.x[first + c]) + (row + tile_row) * p.in_columns + start + tile_depth,
                           row + tile_row < p.rows ? p.in_columns - start - tile_depth : 0);
            }
          }
        }
        ask_slab = 0;
        ask_depth++;
        ask_x_stage = (ask_x_stage + 1) % kStages;
      }
      ask_stage = (ask_stage + 1) % kStages;
    }
    commit_copies();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; i++) {
    ask();
  }

  float sums[kGroup][kColumns / 8][4] = {};
  int stage = 0, x_stage = 0;
  for (int64_t depth = 0; depth < depths; depth++) {
    double mixed[kGroup][kOwn];
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
#pragma unroll
      for (int i = 0; i < kOwn; i++) {
        mixed[c][i] = -0.0;  // what leaves the first term as it is, a -0 too
      }
    }
    for (int slab = 0; slab < slabs; slab++) {
      double coefficients[kSlab][kGroup];
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
        const int source = slab * kSlab + j;
#pragma unroll
        for (int c = 0; c < kGroup; c++) {
          coefficients[j][c] = 0;
          if (source < p.sources && c < candidates) {
            coefficients[j][c] = p.coefficients[int64_t{first + c} * p.sources + source];
          }
        }
      }
      wait_copies<kStages - 2>();
      ask();
#pragma unroll
      for (int j = 0; j < kSlab; j++) {
        const float4 weight = load4(tiles.sources[stage][j][thread]);
        const double wide[kOwn] = {weight.x, weight.y, weight.z, weight.w};
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
      stage = (stage + 1) % kStages;
    }
    T(&weights)[kGroup][kColumns * kDepth] = tiles.mixed[depth % 2];
#pragma unroll
    for (int c = 0; c < kGroup; c++) {
      if (c < candidates) {
        float rounded[kOwn];
        round_for<T>(mixed[c], rounded);
        store4(weights[c] + swizzled<kDepth>(own_column, own_depth),
               make_float4(rounded[0], rounded[1], rounded[2], rounded[3]));
      }
    }
    __syncthreads();

    if (row + warp_row < p.rows) {
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
    x_stage = (x_stage + 1) % kStages;
  }

#pragma unroll
  for (int c = 0; c < kGroup; c++) {
    if (c < candidates) {
#pragma unroll
      for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int64_t to_row = row + warp_row + lane / 4 + 8 * h;
          const int64_t to_column = column + n * 8 + lane % 4 * 2;
          if (to_row < p.rows && to_column < p.out_columns) {
            float* const to = global(p.y[first + c]) + to_row * p.out_columns + to_column;
            const float2 two = make_float2(sums[c][n][2 * h], sums[c][n][2 * h + 1]);
            if (to_column + 1 < p.out_columns && aligned(to, 8)) {
              *reinterpret_cast<float2*>(to) = two;
            } else {
              to[0] = two.x;
              if (to_column + 1 < p.out_columns) {
                to[1] = two.y;
              }
            }
          }
        }
      }
    }
  }
}

// Any number of candidates; few leave room for more stages.
template <class T>
__device__ __forceinline__ void multiply_all(const Product<T>& p, int candidates) {
  for (int first = 0; first < candidates; first += 4) {
    const int count = min(4, candidates - first);
    if (first > 0) {
      __syncthreads();  // other warps may still multiply the tiles of the group before
    }
    if (count <= 2) {
      multiply<T, 2, 3>(p, first, count);
    } else {
      multiply<T, 4, 2>(p, first, count);
    }
  }
}

}  // namespace

#define LACO_COLLAPSE_PRODUCT(name, T, blocks, ...)                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads, blocks)                                    \
      name(const T* const* weights, const double* coefficients, const T* const* x, float* const* y, \
           int64_t rows, int64_t out_columns, int64_t in_columns, int32_t sources,                  \
           int32_t candidates) {                                                                    \
    const Product<T> p{weights, coefficients, x, y, rows, out_columns, in_columns, sources};        \
    __VA_ARGS__;                                                                                    \
  }                                                                                                 \
  LACO_EXPORT(name)

LACO_COLLAPSE_PRODUCT(laco_collapse_product_bf16_v1, __nv_bfloat16, 1, multiply_all(p, candidates))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_f16_v1, __half, 1, multiply_all(p, candidates))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_bf16_v2, __nv_bfloat16, 2,
                      multiply<__nv_bfloat16, 1, 4>(p, 0, min(1, candidates)))
LACO_COLLAPSE_PRODUCT(laco_collapse_product_f16_v2, __half, 2,
                      multiply<__half, 1, 4>(p, 0, min(1, candidates)))
