// Columns of a matrix: out[r][i] = from[r][columns[i]]. A block takes a row.
//
//   laco_gather_columns_<T>_v1    the bytes of T twice per element, and 4 bytes for the number of a column, from the L2
//                                 cache; bound by memory where columns are in ascending order
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;

template <class T>
__device__ __forceinline__ void gather(const T* __restrict__ from, const int32_t* __restrict__ columns,
                                       T* __restrict__ out, int64_t count, int64_t from_width, int64_t out_width) {
  from += blockIdx.x * from_width;
  out += blockIdx.x * out_width;
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    out[i] = from[columns[i]];
  }
}

}  // namespace

// from [rows, from_width], columns [count], out [rows, count] with out_width elements from row to row. grid = rows.
// The caller has checked that columns are below from_width.
#define LACO_GATHER_COLUMNS(name, T)                                                           \
  extern "C" __global__ void __launch_bounds__(kThreads)                                       \
      name(const T* from, const int32_t* columns, T* out, int64_t count, int64_t from_width,   \
           int64_t out_width) {                                                                \
    gather(from, columns, out, count, from_width, out_width);                                  \
  }                                                                                            \
  LACO_EXPORT(name)

LACO_GATHER_COLUMNS(laco_gather_columns_f32_v1, float)
LACO_GATHER_COLUMNS(laco_gather_columns_f16_v1, __half)
LACO_GATHER_COLUMNS(laco_gather_columns_bf16_v1, __nv_bfloat16)
