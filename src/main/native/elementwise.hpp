// Applies a function of vectors to arrays, tail included, on all threads.
#pragma once

#include "vec.hpp"

namespace LACO_NAMESPACE {

// out[i] = f(a[i], b[i]); out may be a or b.
template <class T, class Function>
inline void map(const float* a, const T* b, int64_t n, float* out, Function f) {
  const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t v = 0; v < whole; v++) {
    store(out + v * W, f(load(a + v * W), load(b + v * W)));
  }
  const int64_t tail = n - whole * W;
  if (tail > 0) {
    Vec last = f(load(a + whole * W, tail), load(b + whole * W, tail));
    store(out + whole * W, last, tail);
  }
}

}  // namespace LACO_NAMESPACE
