// The gate of a feed-forward network: out = activation(gate) * up. A thread takes four neighbours.
//
//   laco_gated_activation_f32_v1    12 bytes per element and, with exact exp, erfc and division, some 20 (SiLU)
//                                   to 60 (GELU) operations: an H100 has time for over 100, so memory binds.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// The ordinals of dev.laco.model.Activation.
enum : int32_t { kSilu = 0, kGelu = 1, kGeluTanh = 2 };

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * erfcf(-0.70710678f * x); }

// x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), which is x / (1 + e^-2u): for negative x the sum
// with tanh would cancel.
__device__ __forceinline__ float gelu_tanh(float x) {
  const float u = x * fmaf(0.044715f * x, x, 1.0f);
  return x / (1.0f + expf(-1.5957691f * u));
}

template <class Function>
__device__ __forceinline__ void gate_and_multiply(const float* gate, const float* up, float* out, int64_t n,
                                                  Function activation) {
  const bool vectors = aligned4(gate) && aligned4(up) && aligned4(out);
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> result = load<N>(gate + i);
    const Floats<N> factor = load<N>(up + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      result[k] = activation(result[k]) * factor[k];
    }
    store(out + i, result);
  });
}

}  // namespace

// out may be gate or up. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_gated_activation_f32_v1(const float* gate, const float* up, float* out, int64_t n,
                                 int32_t activation) {
  switch (activation) {
    case kSilu:
      gate_and_multiply(gate, up, out, n, [](float x) { return silu(x); });
      break;
    case kGelu:
      gate_and_multiply(gate, up, out, n, [](float x) { return gelu(x); });
      break;
    case kGeluTanh:
      gate_and_multiply(gate, up, out, n, [](float x) { return gelu_tanh(x); });
      break;
  }
}
LACO_EXPORT(laco_gated_activation_f32_v1)
