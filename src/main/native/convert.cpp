#include "round.hpp"

using namespace LACO_NAMESPACE;

// Converts any element type to f32, exactly.
LACO_KERNEL(widen)(const void* in, int32_t dtype, int64_t n, float* out) {
  return with_dtype(dtype, in, [&](auto* from) {
    const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
    for (int64_t v = 0; v < whole; v++) {
      store(out + v * W, load(from + v * W));
    }
    if (whole * W < n) {
      store(out + whole * W, load(from + whole * W, n - whole * W), n - whole * W);
    }
  });
}

// Converts f32 to a 16-bit element type, rounded to nearest even.
LACO_KERNEL(narrow)(const float* in, int64_t n, void* out, int32_t dtype) {
  return with_dtype(dtype, out, [&](auto* type) {
    auto* to = writable(type);
    const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
    for (int64_t v = 0; v < whole; v++) {
      store(to + v * W, load(in + v * W));
    }
    if (whole * W < n) {
      store(to + whole * W, load(in + whole * W, n - whole * W), n - whole * W);
    }
  });
}
