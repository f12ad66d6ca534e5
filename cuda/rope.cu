// Rotary position embedding: element i of every head turns with element i + pairs, by the angle of its token. A block
// takes a token. The result may be in the place of the heads; keys go elsewhere, in the 16-bit type that attention
// multiplies in.
//
//   laco_rope_f32_v1         8 bytes and 3 operations per element, 6 bytes into 16 bits; the angles of a token are
//                            shared by its heads; with direction -1 it turns back, which the gradient does
//   laco_rope_neighbours_f32_v1    element 2 i turns with element 2 i + 1 instead
//   laco_norm_rope_<W>_v1    the RMS norm of every head before, in the same launch: 8 bytes where two launches move 16,
//                            6 into 16 bits; a thread has four vectors in flight, and keeps them in registers meanwhile
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// Rotates N pairs; by the negative angles if the direction is -1.
template <int N>
__device__ __forceinline__ void turn(Floats<N>& first, Floats<N>& second, const Floats<N>& cosine,
                                     const Floats<N>& sine, float direction = 1) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float a = first[i], b = second[i], t = direction * sine[i];
    first[i] = fmaf(a, cosine[i], -(b * t));
    second[i] = fmaf(b, cosine[i], a * t);
  }
}

// Pairs of elements i and i + pairs.
struct Halves {
  template <int N>
  static __device__ __forceinline__ void rope(const float* x, const Activations& out, int32_t head, int32_t i,
                                              int32_t pairs, const float* cosine, const float* sine,
                                              float direction) {
    Floats<N> first = load<N>(x + head + i), second = load<N>(x + head + i + pairs);
    turn(first, second, load<N>(cosine + i), load<N>(sine + i), direction);
    store(out, head + i, first);
    store(out, head + i + pairs, second);
  }
};

// Pairs of elements 2 i and 2 i + 1: N pairs are two vectors of elements in a row.
struct Neighbours {
  template <int N>
  static __device__ __forceinline__ void rope(const float* x, const Activations& out, int32_t head, int32_t i, int32_t,
                                              const float* cosine, const float* sine, float direction) {
    const int32_t start = head + 2 * i;
    Floats<N> halves[2] = {load<N>(x + start), load<N>(x + start + N)};
    Floats<N> first, second;
#pragma unroll
    for (int j = 0; j < N; j++) {
      first[j] = halves[2 * j / N][2 * j % N];
      second[j] = halves[(2 * j + 1) / N][(2 * j + 1) % N];
    }
    turn(first, second, load<N>(cosine + i), load<N>(sine + i), direction);
#pragma unroll
    for (int j = 0; j < N; j++) {
      halves[2 * j / N][2 * j % N] = first[j];
      halves[(2 * j + 1) / N][(2 * j + 1) % N] = second[j];
    }
    store(out, start, halves[0]);
    store(out, start + N, halves[1]);
  }
};

template <int N, class Layout>
__device__ __forceinline__ void rope(const float* x, const float* cosine, const float* sine, const Activations& out,
                                     int32_t heads, int32_t head_dim, int32_t pairs, float direction) {
  const int32_t per_head = pairs / N;
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < heads * per_head; k += kThreads) {
    Layout::template rope<N>(x, out, k / per_head * head_dim, k % per_head * N, pairs, cosine, sine, direction);
  }
  const int32_t rest = (head_dim - 2 * pairs) / N;  // of a head, which is not turned
  if (out.data != x) {
    for (int32_t k = static_cast<int32_t>(threadIdx.x); k < heads * rest; k += kThreads) {
      const int32_t at = k / rest * head_dim + 2 * pairs + k % rest * N;
      store(out, at, load<N>(x + at));
    }
  }
}

template <int N>
__device__ __forceinline__ float sum_of_squares(const Floats<N>& x) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; i++) {
    sum = fmaf(x[i], x[i], sum);
  }
  return sum;
}

template <int N>
__device__ __forceinline__ void norm(Floats<N>& x, const Floats<N>& scale, float offset, float factor) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    x[i] = (scale[i] + offset) * (x[i] * factor);
  }
}

// A warp takes several heads at once, so that most lanes have one vector of each half of a head. A lane keeps them, and
// those of kHeads heads, in registers, and the angles and weights of its place for all heads. What a head has beyond, of
// more than 32 vectors in a half or behind the pairs, is read twice.
template <int N, class W>
__device__ __forceinline__ void norm_rope(const float* x, const W* weight, const float* cosine, const float* sine,
                                          const Activations& out, int32_t heads, int32_t head_dim, int32_t pairs,
                                          float eps, float offset) {
  constexpr int kHeads = 2;
  const int32_t turned = 2 * pairs;
  int32_t lanes = kWarp;  // of a head
  while (lanes > 1 && lanes / 2 * N >= pairs) {
    lanes /= 2;
  }
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / kWarp;
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % kWarp;
  const int32_t at_once = kWarp / lanes;
  const int32_t warps_heads = kThreads / kWarp * at_once;
  const int32_t start = lane % lanes * N;
  const int32_t step = lanes * N;
  const bool has_pairs = start < pairs;
  Floats<N> c = {}, s = {}, first_scale = {}, second_scale = {};
  if (has_pairs) {
    c = load<N>(cosine + start);
    s = load<N>(sine + start);
    first_scale = load<N>(weight + start);
    second_scale = load<N>(weight + start + pairs);
  }
  for (int32_t h = warp * at_once; h < heads; h += kHeads * warps_heads) {
    int32_t head[kHeads];  // below 0 for none
    Floats<N> first[kHeads], second[kHeads];
#pragma unroll
    for (int k = 0; k < kHeads; k++) {
      const int32_t own = h + k * warps_heads + lane / lanes;
      head[k] = own < heads ? own * head_dim : -1;
      first[k] = {};
      second[k] = {};
      if (head[k] >= 0 && has_pairs) {
        first[k] = load<N>(x + head[k] + start);
        second[k] = load<N>(x + head[k] + start + pairs);
      }
    }
#pragma unroll
    for (int k = 0; k < kHeads; k++) {
      float squares = sum_of_squares(first[k]) + sum_of_squares(second[k]);
      if (head[k] >= 0) {
#pragma unroll 1
        for (int32_t i = start + step; i < pairs; i += step) {
          squares += sum_of_squares(load<N>(x + head[k] + i)) + sum_of_squares(load<N>(x + head[k] + i + pairs));
        }
#pragma unroll 1
        for (int32_t i = turned + start; i < head_dim; i += step) {
          squares += sum_of_squares(load<N>(x + head[k] + i));
        }
      }
      // All lanes of the warp take part, so that nothing of a head is written before everything is read.
      for (int32_t distance = lanes / 2; distance > 0; distance /= 2) {
        squares += __shfl_xor_sync(~0u, squares, distance);
      }
      if (head[k] >= 0) {
        const Activations own = out.behind(head[k]);
        const float factor = rsqrtf(squares / static_cast<float>(head_dim) + eps);
        if (has_pairs) {
          norm(first[k], first_scale, offset, factor);
          norm(second[k], second_scale, offset, factor);
          turn(first[k], second[k], c, s);
          store(own, start, first[k]);
          store(own, start + pairs, second[k]);
        }
#pragma unroll 1
        for (int32_t i = start + step; i < pairs; i += step) {
          Floats<N> left = load<N>(x + head[k] + i), right = load<N>(x + head[k] + i + pairs);
          norm(left, load<N>(weight + i), offset, factor);
          norm(right, load<N>(weight + i + pairs), offset, factor);
          turn(left, right, load<N>(cosine + i), load<N>(sine + i));
          store(own, i, left);
          store(own, i + pairs, right);
        }
#pragma unroll 1
        for (int32_t i = turned + start; i < head_dim; i += step) {
          Floats<N> rest = load<N>(x + head[k] + i);
          norm(rest, load<N>(weight + i), offset, factor);
          store(own, i, rest);
        }
      }
    }
  }
}

// Whether heads, of which x holds those of one token, are made of vectors.
__device__ __forceinline__ bool are_vectors(const float* x, const float* cosine, const float* sine,
                                            const Activations& out, int32_t head_dim, int32_t pairs) {
  return head_dim % 4 == 0 && pairs % 4 == 0 && aligned4(x) && aligned4(cosine) && aligned4(sine) && out.aligned4();
}

}  // namespace

// x, out [tokens, heads * head_dim]; cosine, sine [tokens, pairs]. The type of out is named by its code. grid = tokens.
#define LACO_ROPE(name, Layout)                                                                       \
  extern "C" __global__ void __launch_bounds__(kThreads)                                              \
      name(const float* x, const float* cosine, const float* sine, void* out, int32_t heads,          \
           int32_t head_dim, int32_t pairs, float direction, int32_t type) {                          \
    const int64_t token = blockIdx.x;                                                                 \
    const Activations to = Activations{out, type}.behind(token * heads * head_dim);                   \
    x += token * heads * head_dim;                                                                    \
    cosine += token * pairs;                                                                          \
    sine += token * pairs;                                                                            \
    if (are_vectors(x, cosine, sine, to, head_dim, pairs)) {                                          \
      rope<4, Layout>(x, cosine, sine, to, heads, head_dim, pairs, direction);                        \
    } else {                                                                                          \
      rope<1, Layout>(x, cosine, sine, to, heads, head_dim, pairs, direction);                        \
    }                                                                                                 \
  }                                                                                                   \
  LACO_EXPORT(name)

LACO_ROPE(laco_rope_f32_v1, Halves)
LACO_ROPE(laco_rope_neighbours_f32_v1, Neighbours)

// As laco_rope, after the RMS norm of each head with offset + weight [head_dim]. With four blocks a multiprocessor the
// compiler would spill registers.
#define LACO_NORM_ROPE(name, W)                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, 3)                                       \
      name(const float* x, const W* weight, const float* cosine, const float* sine, void* out,    \
           int32_t heads, int32_t head_dim, int32_t pairs, float eps, float offset,               \
           int32_t type) {                                                                        \
    const int64_t token = blockIdx.x;                                                             \
    const Activations to = Activations{out, type}.behind(token * heads * head_dim);               \
    x += token * heads * head_dim;                                                                \
    cosine += token * pairs;                                                                      \
    sine += token * pairs;                                                                        \
    if (are_vectors(x, cosine, sine, to, head_dim, pairs) && aligned4(weight)) {                  \
      norm_rope<4>(x, weight, cosine, sine, to, heads, head_dim, pairs, eps, offset);             \
    } else {                                                                                      \
      norm_rope<1>(x, weight, cosine, sine, to, heads, head_dim, pairs, eps, offset);             \
    }                                                                                             \
  }                                                                                               \
  LACO_EXPORT(name)

LACO_NORM_ROPE(laco_norm_rope_f32_v1, float)
LACO_NORM_ROPE(laco_norm_rope_f16_v1, __half)
LACO_NORM_ROPE(laco_norm_rope_bf16_v1, __nv_bfloat16)
