#include "math.hpp"

using namespace LACO_NAMESPACE;

// The gate of an expert of gpt-oss. gate_up [n, 2] has gate and up of each channel side by side. out[i] = g / (1 +
// exp(-slope g)) (u + 1) with g = min(gate, limit) and u = min(max(up, -limit), limit); NaN stays. out [n] is other memory.
LACO_KERNEL(clamped_gate)
(const float* gate_up, int64_t n, float slope, float limit, float* out) {
  const Vec most = splat(limit);
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t i = 0; i < n; i += W) {
    const int64_t count = min(W, n - i);
    float gates[W] = {}, ups[W] = {};
    for (int64_t j = 0; j < count; j++) {
      gates[j] = gate_up[2 * (i + j)];
      ups[j] = gate_up[2 * (i + j) + 1];
    }
    Vec gate = load(gates), up = load(ups);
    gate = select(gate > most, most, gate);
    up = select(up > most, most, up);
    up = select(up < -most, -most, up);
    const Vec result = gate / (1.0f + exp(-slope * gate)) * (up + 1.0f);
    if (count == W) {
      store(out + i, result);
    } else {
      store(out + i, result, count);
    }
  }
  return LACO_OK;
}
