#include "elementwise.hpp"
#include "math.hpp"

using namespace LACO_NAMESPACE;

// x = scale * x, and soft_cap * tanh(scale * x / soft_cap) unless soft_cap is 0; in place.
LACO_KERNEL(logits)(float* x, int64_t n, float scale, float soft_cap) {
  map(x, x, n, x, [&](Vec v, Vec) { return capped(v * scale, soft_cap); });
  return LACO_OK;
}
