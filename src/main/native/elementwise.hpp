// Applies a function of vectors to arrays on all threads; a last part of less than a vector is included.
#pragma once

#include "vec.hpp"

namespace LACO_NAMESPACE {

// out[i] = f(a[i], b[i]); out may be a or b. For out of 16 bits round.hpp must be included. Several threads are used
// for more than `few` elements.
template <class T, class To, class Function>
inline void map(const float* a, const T* b, int64_t n, To* out, Function f, int64_t few = kParallelLight) {
  const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > few)
  for (int64_t v = 0; v < whole; v++) {
    store(out + v * W, f(load(a + v * W), load(b + v * W)));
  }
  const int64_t tail = n - whole * W;
  if (tail > 0) {
    Vec last = f(load(a + whole * W, tail), load(b + whole * W, tail));
    store(out + whole * W, last, tail);
  }
}

// Calls f(a[i], b[i], in[i]...), which takes references to the first two and changes these in place, by many
// instructions.
template <class Function, class... In>
inline void change(float* a, float* b, int64_t n, Function f, const In*... in) {
  auto step = [&](int64_t i, auto... count) {
    Vec x = load(a + i, count...);
    Vec y = load(b + i, count...);
    f(x, y, load(in + i, count...)...);
    store(a + i, x, count...);
    store(b + i, y, count...);
  };
  const int64_t whole = n / W;
#pragma omp parallel for schedule(static) if (n > kParallel)
  for (int64_t v = 0; v < whole; v++) {
    step(v * W);
  }
  if (whole * W < n) {
    step(whole * W, n - whole * W);
  }
}

}  // namespace LACO_NAMESPACE
