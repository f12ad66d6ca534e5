// Embedding: out[t] = table[tokens[t]], widened. A block takes a token.
//
//   laco_embed_<T>_v1    a copy: the bytes of T and 4 per element, no arithmetic; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;

template <int N, class T>
__device__ __forceinline__ void copy_row(const T* __restrict__ from, float* __restrict__ to, int64_t columns) {
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x * N; i < columns; i += kThreads * N) {
    store(to + i, load<N>(from + i));
  }
}

template <class T>
__device__ __forceinline__ void embed(const T* table, const int32_t* tokens, float* out, int64_t columns) {
  const T* from = table + tokens[blockIdx.x] * columns;
  float* to = out + blockIdx.x * columns;
  if (columns % 4 == 0 && aligned4(from) && aligned4(to)) {
    copy_row<4>(from, to, columns);
  } else {
    copy_row<1>(from, to, columns);
  }
}

}  // namespace

// table [V, columns], out [tokens, columns]. grid = tokens. The caller has checked that tokens are below V.
#define LACO_EMBED(name, T)                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads)                                      \
      name(const T* table, const int32_t* tokens, float* out, int64_t columns) {              \
    embed(table, tokens, out, columns);                                                       \
  }                                                                                           \
  LACO_EXPORT(name)

LACO_EMBED(laco_embed_f32_v1, float)
LACO_EMBED(laco_embed_f16_v1, __half)
LACO_EMBED(laco_embed_bf16_v1, __nv_bfloat16)
