// The gate of a feed-forward network: out = activation(gate) * up, and its gradients. A thread takes four neighbours.
//
//   laco_gated_activation_f32_v1    12 bytes per element and, with exact exp, erfc and division, some 20 (SiLU)
//                                   to 60 (GELU) operations, and 2 of ReLU: an H100 has time for over 100, so memory binds.
//                                   2 bytes less for a result in 16 bits, which only products read.
//   laco_gated_gradients_f32_v1     20 bytes per element and about twice the operations.
//   laco_clamped_gate_f32_v1        12 bytes per channel: the gate of an expert of gpt-oss.
//   laco_clamped_gate_gradients_f32_v1  20 bytes per channel: its gradients.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

// As dev.laco.backend.KernelCode numbers them.
enum : int32_t { kSilu = 0, kGelu = 1, kGeluTanh = 2, kRelu = 3, kReluSquared = 4, kSigmoid = 5, kLinear = 6 };

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * erfcf(-0.70710678f * x); }

// x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), which is x / (1 + e^-2u): for negative x the sum
// with tanh would cancel.
__device__ __forceinline__ float gelu_tanh(float x) {
  const float u = x * fmaf(0.044715f * x, x, 1.0f);
  return x / (1.0f + expf(-1.5957691f * u));
}

// max(x, 0); NaN stays.
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }

__device__ __forceinline__ float relu_squared(float x) { return relu(x) * relu(x); }

// What is larger than most becomes most; NaN stays.
__device__ __forceinline__ float at_most(float x, float most) { return x > most ? most : x; }

// What is not between -limit and limit becomes the nearer one; NaN stays.
__device__ __forceinline__ float within(float x, float limit) { return x < -limit ? -limit : at_most(x, limit); }

// Where the slope of SiLU or GELU is at its limit, 0 or 1, and none of its factors overflows.
__device__ __forceinline__ float within_1000(float x) { return within(x, 1000.0f); }

// The slope of x s(v(x)) with the logistic function s, s(v) (1 + w s(-v)) with w = x v'(x). From e^-|v|, so that
// neither s(v) nor s(-v) is a difference.
__device__ __forceinline__ float logistic_slope(float v, float w) {
  const float e = expf(-fabsf(v));
  const float large = 1.0f / (1.0f + e);
  const float small = e * large;
  return v < 0.0f ? small * fmaf(w, large, 1.0f) : large * fmaf(w, small, 1.0f);
}

__device__ __forceinline__ float silu_slope(float x) {
  x = within_1000(x);
  return logistic_slope(x, x);
}

// The normal distribution, and x times its density.
__device__ __forceinline__ float gelu_slope(float x) {
  x = within_1000(x);
  return fmaf(0.39894228f * x, expf(-0.5f * x * x), 0.5f * erfcf(-0.70710678f * x));
}

// As for gelu_tanh, with v = 2u.
__device__ __forceinline__ float gelu_tanh_slope(float x) {
  x = within_1000(x);
  const float scaled = 1.5957691f * x;
  const float square = 0.044715f * x * x;
  return logistic_slope(scaled * (1.0f + square), scaled * fmaf(3.0f, square, 1.0f));
}

// 0 at 0; NaN stays.
__device__ __forceinline__ float relu_slope(float x) { return x > 0.0f ? 1.0f : relu(x); }

__device__ __forceinline__ float relu_squared_slope(float x) { return 2.0f * relu(x); }

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// From e^-|x|, so that neither factor is a difference.
__device__ __forceinline__ float sigmoid_slope(float x) {
  const float e = expf(-fabsf(x));
  const float large = 1.0f / (1.0f + e);
  return e * large * large;
}

template <class Function>
__device__ __forceinline__ void gate_and_multiply(const float* gate, const float* up, Activations out, int64_t n,
                                                  Function activation) {
  const bool vectors = aligned4(gate) && aligned4(up) && out.aligned4();
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> result = load<N>(gate + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      result[k] = activation(result[k]);
    }
    if (up != nullptr) {
      const Floats<N> factor = load<N>(up + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        result[k] *= factor[k];
      }
    }
    store(out, i, result);
  });
}

template <class Function, class Slope>
__device__ __forceinline__ void gradients(float* gate, float* up, const float* gradient, int64_t n,
                                          Function activation, Slope slope) {
  for_each_of_four(n, aligned4(gate) && aligned4(up) && aligned4(gradient), [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> by_gate = load<N>(gate + i);
    Floats<N> by_up = load<N>(gradient + i);
    Floats<N> factor = by_up;
    if (up != nullptr) {
      const Floats<N> values = load<N>(up + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        factor[k] *= values[k];
        by_up[k] *= activation(by_gate[k]);
      }
      store(up + i, by_up);
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
      by_gate[k] = factor[k] * slope(by_gate[k]);
    }
    store(gate + i, by_gate);
  });
}

}  // namespace

// out may be gate or up, where it is f32; up may be null, for ones. type: the code of out's type. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_gated_activation_f32_v1(const float* gate, const float* up, void* to, int64_t n, int32_t activation,
                                 int32_t type) {
  const Activations out = {to, type};
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
    case kRelu:
      gate_and_multiply(gate, up, out, n, [](float x) { return relu(x); });
      break;
    case kReluSquared:
      gate_and_multiply(gate, up, out, n, [](float x) { return relu_squared(x); });
      break;
    case kSigmoid:
      gate_and_multiply(gate, up, out, n, [](float x) { return sigmoid(x); });
      break;
    case kLinear:
      gate_and_multiply(gate, up, out, n, [](float x) { return x; });
      break;
  }
}
LACO_EXPORT(laco_gated_activation_f32_v1)

// gate = gradient * up * activation'(gate), and up = gradient * activation(gate); up may be null, for ones.
// grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_gated_gradients_f32_v1(float* gate, float* up, const float* gradient, int64_t n, int32_t activation) {
  switch (activation) {
    case kSilu:
      gradients(gate, up, gradient, n, [](float x) { return silu(x); }, [](float x) { return silu_slope(x); });
      break;
    case kGelu:
      gradients(gate, up, gradient, n, [](float x) { return gelu(x); }, [](float x) { return gelu_slope(x); });
      break;
    case kGeluTanh:
      gradients(gate, up, gradient, n, [](float x) { return gelu_tanh(x); },
                [](float x) { return gelu_tanh_slope(x); });
      break;
    case kRelu:
      gradients(gate, up, gradient, n, [](float x) { return relu(x); }, [](float x) { return relu_slope(x); });
      break;
    case kReluSquared:
      gradients(gate, up, gradient, n, [](float x) { return relu_squared(x); },
                [](float x) { return relu_squared_slope(x); });
      break;
    case kSigmoid:
      gradients(gate, up, gradient, n, [](float x) { return sigmoid(x); }, [](float x) { return sigmoid_slope(x); });
      break;
    case kLinear:
      gradients(gate, up, gradient, n, [](float x) { return x; }, [](float) { return 1.0f; });
      break;
  }
}
LACO_EXPORT(laco_gated_gradients_f32_v1)

// gate_up [n, 2] has gate and up of each channel side by side. out = g / (1 + exp(-slope g)) (u + 1) with g = min(gate,
// limit) and u = min(max(up, -limit), limit); NaN stays. out [n] is other memory. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_clamped_gate_f32_v1(const float* gate_up, float* out, int64_t n, float slope, float limit) {
  for_each_of_four(n, aligned4(gate_up) && aligned4(out), [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const Floats<N> first = load<N>(gate_up + 2 * i), second = load<N>(gate_up + 2 * i + N);
    Floats<N> result;
#pragma unroll
    for (int k = 0; k < N; k++) {
      float gate = 2 * k < N ? first[2 * k % N] : second[2 * k % N];
      float up = 2 * k + 1 < N ? first[(2 * k + 1) % N] : second[(2 * k + 1) % N];
      gate = at_most(gate, limit);
      up = within(up, limit);
      result[k] = gate / (1.0f + expf(-slope * gate)) * (up + 1.0f);
    }
    store(out + i, result);
  });
}
LACO_EXPORT(laco_clamped_gate_f32_v1)

// The gradients of the clamped gate by gate and up, in place, from those by its result. gate_up [n, 2], gradient [n]. What
// was beyond its limit gets 0. grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_clamped_gate_gradients_f32_v1(float* gate_up, const float* gradient, int64_t n, float slope, float limit) {
  for_each_of_four(n, aligned4(gate_up) && aligned4(gradient), [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    Floats<N> halves[2] = {load<N>(gate_up + 2 * i), load<N>(gate_up + 2 * i + N)};
    const Floats<N> by = load<N>(gradient + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      float& to_gate = halves[2 * k / N][2 * k % N];
      float& to_up = halves[(2 * k + 1) / N][(2 * k + 1) % N];
      const float gate = within_1000(at_most(to_gate, limit)), up = within(to_up, limit);
      const float by_gate = by[k] * (up + 1.0f) * logistic_slope(slope * gate, slope * gate);
      const float by_up = by[k] * (gate / (1.0f + expf(-slope * gate)));
      to_gate = to_gate > limit ? 0.0f : by_gate;
      to_up = to_up > limit || to_up < -limit ? 0.0f : by_up;
    }
    store(gate_up + 2 * i, halves[0]);
    store(gate_up + 2 * i + N, halves[1]);
  });
}
LACO_EXPORT(laco_clamped_gate_gradients_f32_v1)
