// Applies a function of vectors to arrays on all threads; a last part of less than a vector is included.
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

// Calls f(a[i], b[i]), which takes references and changes both in place.
template <class Function>
inline void change(float* a, float* b, int64_t n, Function f) {
  const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t v = 0; v < whole; v++) {
    Vec x = load(a + v * W);
    Vec y = load(b + v * W);
    f(x, y);
    store(a + v * W, x);
    store(b + v * W, y);
  }
  const int64_t tail = n - whole * W;
  if (tail > 0) {
    Vec x = load(a + whole * W, tail);
    Vec y = load(b + whole * W, tail);
    f(x, y);
    store(a + whole * W, x, tail);
    store(b + whole * W, y, tail);
  }
}

}  // namespace LACO_NAMESPACE
