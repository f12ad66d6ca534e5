// Rotary position embedding in place: element i of every head turns with element i + pairs, by the angle of its
// token. A block takes a token.
//
//   laco_rope_f32_v1         8 bytes and 3 operations per element; the angles of a token are shared by its heads; with
//                            direction -1 it turns back, which the gradient does
//   laco_rope_neighbours_f32_v1    element 2 i turns with element 2 i + 1 instead
//   laco_norm_rope_<W>_v1    the RMS norm of every head before, in the same launch: a head's second reading
//                            comes from the L1, so 8 bytes where two launches move 16
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// Rotates N pairs; by the negative angles if the direction is -1.
template <int N>
__device__ __forceinline__ void turn(Floats<N>& first, Floats<N>& second, const float* cosine,
                                     const float* sine, float direction) {
  const Floats<N> c = load<N>(cosine), s = load<N>(sine);
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float a = first[i], b = second[i], t = direction * s[i];
    first[i] = fmaf(a, c[i], -(b * t));
    second[i] = fmaf(b, c[i], a * t);
  }
}

// Pairs of elements i and i + pairs.
struct Halves {
  template <int N>
  static __device__ __forceinline__ void rope(float* head, int32_t i, int32_t pairs, const float* cosine,
                                              const float* sine, float direction) {
    Floats<N> first = load<N>(head + i), second = load<N>(head + i + pairs);
    turn(first, second, cosine + i, sine + i, direction);
    store(head + i, first);
    store(head + i + pairs, second);
  }
};

// Pairs of elements 2 i and 2 i + 1: N pairs are two vectors of elements in a row.
struct Neighbours {
  template <int N>
  static __device__ __forceinline__ void rope(float* head, int32_t i, int32_t, const float* cosine,
                                              const float* sine, float direction) {
    float* start = head + 2 * i;
    Floats<N> halves[2] = {load<N>(start), load<N>(start + N)};
    Floats<N> first, second;
#pragma unroll
    for (int j = 0; j < N; j++) {
      first[j] = halves[2 * j / N][2 * j % N];
      second[j] = halves[(2 * j + 1) / N][(2 * j + 1) % N];
    }
    turn(first, second, cosine + i, sine + i, direction);
#pragma unroll
    for (int j = 0; j < N; j++) {
      halves[2 * j / N][2 * j % N] = first[j];
      halves[(2 * j + 1) / N][(2 * j + 1) % N] = second[j];
    }
    store(start, halves[0]);
    store(start + N, halves[1]);
  }
};

template <int N, class Layout>
__device__ __forceinline__ void rope(float* x, const float* cosine, const float* sine, int32_t heads,
                                     int32_t head_dim, int32_t pairs, float direction) {
  const int32_t per_head = pairs / N;
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < heads * per_head; k += kThreads) {
    Layout::template rope<N>(x + k / per_head * head_dim, k % per_head * N, pairs, cosine, sine, direction);
  }
}

template <int N>
__device__ __forceinline__ float sum_of_squares(const float* p) {
  const Floats<N> x = load<N>(p);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; i++) {
    sum = fmaf(x[i], x[i], sum);
  }
  return sum;
}

template <int N, class W>
__device__ __forceinline__ Floats<N> normed(const float* p, const W* weight, float offset, float factor) {
  Floats<N> x = load<N>(p);
  const Floats<N> scale = load<N>(weight);
#pragma unroll
  for (int i = 0; i < N; i++) {
    x[i] = (scale[i] + offset) * (x[i] * factor);
  }
  return x;
}

// A warp takes several heads at once, so that most lanes have one vector of each half of a head, and no loop is
// unrolled.
template <int N, class W>
__device__ __forceinline__ void norm_rope(float* x, const W* weight, const float* cosine, const float* sine,
                                          int32_t heads, int32_t head_dim, int32_t pairs, float eps,
                                          float offset) {
  const int32_t turned = 2 * pairs;
  int32_t lanes = kWarp;  // of a head
  while (lanes > 1 && lanes / 2 * N >= pairs) {
    lanes /= 2;
  }
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  const int32_t at_once = kWarp / lanes;
  const int32_t start = lane % lanes * N;
  const int32_t step = lanes * N;
  for (int32_t h = warp * at_once; h < heads; h += kThreads / kWarp * at_once) {
    const int32_t own = h + lane / lanes;
    const bool active = own < heads;
    float* head = x + own * head_dim;
    float squares = 0;
    if (active) {
#pragma unroll 1
      for (int32_t i = start; i < head_dim; i += step) {
        squares += sum_of_squares<N>(head + i);
      }
    }
    // All lanes of the warp take part, so that nothing is written before everything is read.
    for (int32_t distance = lanes / 2; distance > 0; distance /= 2) {
      squares += __shfl_xor_sync(~0u, squares, distance);
    }
    if (active) {
      const float factor = rsqrtf(squares / static_cast<float>(head_dim) + eps);
#pragma unroll 1
      for (int32_t i = start; i < pairs; i += step) {
        Floats<N> first = normed<N>(head + i, weight + i, offset, factor);
        Floats<N> second = normed<N>(head + i + pairs, weight + i + pairs, offset, factor);
        turn(first, second, cosine + i, sine + i, 1);
        store(head + i, first);
        store(head + i + pairs, second);
      }
#pragma unroll 1
      for (int32_t i = turned + start; i < head_dim; i += step) {
        store(head + i, normed<N>(head + i, weight + i, offset, factor));
      }
    }
  }
}

// Whether heads, of which x holds those of one token, are made of vectors.
__device__ __forceinline__ bool are_vectors(const float* x, const float* cosine, const float* sine,
                                            int32_t head_dim, int32_t pairs) {
  return head_dim % 4 == 0 && pairs % 4 == 0 && aligned4(x) && aligned4(cosine) && aligned4(sine);
}

}  // namespace

// x [tokens, heads * head_dim]; cosine, sine [tokens, pairs]. grid = tokens.
#define LACO_ROPE(name, Layout)                                                                       \
  extern "C" __global__ void __launch_bounds__(kThreads)                                              \
      name(float* x, const float* cosine, const float* sine, int32_t heads, int32_t head_dim,         \
           int32_t pairs, float direction) {                                                          \
    const int64_t token = blockIdx.x;                                                                 \
    x += token * heads * head_dim;                                                                    \
    cosine += token * pairs;                                                                          \
    sine += token * pairs;                                                                            \
    if (are_vectors(x, cosine, sine, head_dim, pairs)) {                                              \
      rope<4, Layout>(x, cosine, sine, heads, head_dim, pairs, direction);                            \
    } else {                                                                                          \
      rope<1, Layout>(x, cosine, sine, heads, head_dim, pairs, direction);                            \
    }                                                                                                 \
  }                                                                                                   \
  LACO_EXPORT(name)

LACO_ROPE(laco_rope_f32_v1, Halves)
LACO_ROPE(laco_rope_neighbours_f32_v1, Neighbours)

// As laco_rope, after the RMS norm of each head with offset + weight [head_dim]. Without the bound on blocks the
// compiler would spill a register.
#define LACO_NORM_ROPE(name, W)                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, 4)                                       \
      name(float* x, const W* weight, const float* cosine, const float* sine, int32_t heads,      \
           int32_t head_dim, int32_t pairs, float eps, float offset) {                            \
    const int64_t token = blockIdx.x;                                                             \
    x += token * heads * head_dim;                                                                \
    cosine += token * pairs;                                                                      \
    sine += token * pairs;                                                                        \
    if (are_vectors(x, cosine, sine, head_dim, pairs) && aligned4(weight)) {                      \
      norm_rope<4>(x, weight, cosine, sine, heads, head_dim, pairs, eps, offset);                 \
    } else {                                                                                      \
      norm_rope<1>(x, weight, cosine, sine, heads, head_dim, pairs, eps, offset);                 \
    }                                                                                             \
  }                                                                                               \
  LACO_EXPORT(name)

LACO_NORM_ROPE(laco_norm_rope_f32_v1, float)
LACO_NORM_ROPE(laco_norm_rope_f16_v1, __half)
LACO_NORM_ROPE(laco_norm_rope_bf16_v1, __nv_bfloat16)
