#include "elementwise.hpp"

using namespace LACO_NAMESPACE;

// out = x * y; out may be x or y.
LACO_KERNEL(multiply)(const float* x, const float* y, int64_t n, float* out) {
  map(x, y, n, out, [](Vec a, Vec b) { return a * b; });
  return LACO_OK;
}
