#include "elementwise.hpp"
#include "math.hpp"

using namespace LACO_NAMESPACE;

// out = activation(gate) * up. activation: 0 SiLU, 1 GELU, 2 tanh GELU.
LACO_KERNEL(gated_activation)
(int32_t activation, const float* gate, const float* up, int64_t n, float* out) {
  switch (activation) {
    case 0:
      map(gate, up, n, out, [](Vec g, Vec u) { return silu(g) * u; });
      return LACO_OK;
    case 1:
      map(gate, up, n, out, [](Vec g, Vec u) { return gelu(g) * u; });
      return LACO_OK;
    case 2:
      map(gate, up, n, out, [](Vec g, Vec u) { return gelu_tanh(g) * u; });
      return LACO_OK;
    default:
      return LACO_BAD_ACTIVATION;
  }
}
