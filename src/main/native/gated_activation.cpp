#include "elementwise.hpp"
#include "math.hpp"
#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

// up may be null, for ones, which get no gradient.
template <class Function, class Slope>
inline int32_t gradients(float* gate, float* up, const float* gradient, int64_t n, Function activation, Slope slope) {
  if (up == nullptr) {
    map(gate, gradient, n, gate, [=](Vec g, Vec d) { return d * slope(g); }, kParallel);
  } else {
    change(
        gate, up, n,
        [=](Vec& g, Vec& u, Vec d) {
          const Vec by_gate = d * u * slope(g);
          u = d * activation(g);
          g = by_gate;
        },
        gradient);
  }
  return LACO_OK;
}

// up may be null, for ones.
template <class Function>
inline int32_t activate(const float* gate, const float* up, int64_t n, void* out, int32_t out_dtype,
                        Function activation) {
  return with_dtype(out_dtype, out, [&](auto* type) {
    if (up == nullptr) {
      map(gate, gate, n, writable(type), [=](Vec g, Vec) { return activation(g); }, kParallel);
    } else {
      map(gate, up, n, writable(type), [=](Vec g, Vec u) { return activation(g) * u; }, kParallel);
    }
  });
}

}  // namespace

// out = activation(gate) * up; up may be null, for ones; out of out_dtype. activation: 0 SiLU, 1 GELU, 2 tanh GELU,
// 3 ReLU, 4 squared ReLU, 5 sigmoid, 6 the gate itself.
LACO_KERNEL(gated_activation)
(int32_t activation, const float* gate, const float* up, int64_t n, void* out, int32_t out_dtype) {
  switch (activation) {
    case 0:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return silu(g); });
    case 1:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return gelu(g); });
    case 2:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return gelu_tanh(g); });
    case 3:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return relu(g); });
    case 4:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return relu_squared(g); });
    case 5:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return sigmoid(g); });
    case 6:
      return activate(gate, up, n, out, out_dtype, [](Vec g) { return g; });
    default:
      return LACO_BAD_ACTIVATION;
  }
}

// up = gradient * activation(gate) and gate = gradient * up * activation'(gate); up may be null, for ones.
LACO_KERNEL(gated_gradients)
(int32_t activation, float* gate, float* up, const float* gradient, int64_t n) {
  switch (activation) {
    case 0:
      return gradients(gate, up, gradient, n, [](Vec g) { return silu(g); }, [](Vec g) { return silu_slope(g); });
    case 1:
      return gradients(gate, up, gradient, n, [](Vec g) { return gelu(g); }, [](Vec g) { return gelu_slope(g); });
    case 2:
      return gradients(
          gate, up, gradient, n, [](Vec g) { return gelu_tanh(g); }, [](Vec g) { return gelu_tanh_slope(g); });
    case 3:
      return gradients(gate, up, gradient, n, [](Vec g) { return relu(g); }, [](Vec g) { return relu_slope(g); });
    case 4:
      return gradients(
          gate, up, gradient, n, [](Vec g) { return relu_squared(g); }, [](Vec g) { return relu_squared_slope(g); });
    case 5:
      return gradients(gate, up, gradient, n, [](Vec g) { return sigmoid(g); }, [](Vec g) { return sigmoid_slope(g); });
    case 6:
      return gradients(gate, up, gradient, n, [](Vec g) { return g; }, [](Vec) { return splat(1.0f); });
    default:
      return LACO_BAD_ACTIVATION;
  }
}
