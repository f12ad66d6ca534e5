// Embedding: out[t] = scale * table[tokens[t]]. A block takes a token.
//
//   laco_embed_<T>_v1    the bytes of T and of the result's type per element, one product; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;

template <int N, class T>
__device__ __forceinline__ void scale_row(const T* __restrict__ from, const Activations& to, int64_t columns,
                                          float scale) {
#pragma unroll kUnroll
  for (int64_t i = threadIdx.x * N; i < columns; i += kThreads * N) {
    Floats<N> values = load<N>(from + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      values[k] *= scale;
    }
    store(to, i, values);
  }
}

template <class T>
__device__ __forceinline__ void embed(const T* table, const int32_t* tokens, const Activations& out, int64_t columns,
                                      float scale) {
  const T* from = table + tokens[blockIdx.x] * columns;
  const Activations to = out.behind(blockIdx.x * columns);
  if (columns % 4 == 0 && aligned4(from) && to.aligned4()) {
    scale_row<4>(from, to, columns, scale);
  } else {
    scale_row<1>(from, to, columns, scale);
  }
}

}  // namespace

// table [V, columns], out [tokens, columns], whose type is named by its code. grid = tokens. The caller has checked that
// tokens are below V.
#define LACO_EMBED(name, T)                                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads)                                    \
      name(const T* table, const int32_t* tokens, void* out, int64_t columns, float scale,  \
           int32_t type) {                                                                  \
    embed(table, tokens, {out, type}, columns, scale);                                      \
  }                                                                                         \
  LACO_EXPORT(name)

LACO_EMBED(laco_embed_f32_v1, float)
LACO_EMBED(laco_embed_f16_v1, __half)
LACO_EMBED(laco_embed_bf16_v1, __nv_bfloat16)
