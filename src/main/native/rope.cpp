#include "vec.hpp"

using namespace LACO_NAMESPACE;

// Rotates, in place, element i of every head with element i + pairs by the angle of its token.
// x [rows, heads * head_dim], cosine, sine [rows, pairs].
LACO_KERNEL(rope)
(float* x, const float* cosine, const float* sine, int64_t rows, int64_t heads, int64_t head_dim,
 int64_t pairs) {
#pragma omp parallel for schedule(static) if (rows * heads * head_dim > kParallelLight)
  for (int64_t t = 0; t < rows; t++) {
    const float* c = cosine + t * pairs;
    const float* s = sine + t * pairs;
    for (int64_t h = 0; h < heads; h++) {
      float* first = x + (t * heads + h) * head_dim;
      float* second = first + pairs;
      int64_t i = 0;
      for (; i + W <= pairs; i += W) {
        Vec a = load(first + i), b = load(second + i), vc = load(c + i), vs = load(s + i);
        store(first + i, fma(a, vc, -(b * vs)));
        store(second + i, fma(b, vc, a * vs));
      }
      if (i < pairs) {
        const int64_t n = pairs - i;
        Vec a = load(first + i, n), b = load(second + i, n), vc = load(c + i, n), vs = load(s + i, n);
        store(first + i, fma(a, vc, -(b * vs)), n);
        store(second + i, fma(b, vc, a * vs), n);
      }
    }
  }
  return LACO_OK;
}

// Rotates, in place, element 2 i of every head with element 2 i + 1. Arguments as those of rope.
LACO_KERNEL(rope_neighbours)
(float* x, const float* cosine, const float* sine, int64_t rows, int64_t heads, int64_t head_dim,
 int64_t pairs) {
#pragma omp parallel for schedule(static) if (rows * heads * head_dim > kParallelLight)
  for (int64_t t = 0; t < rows; t++) {
    const float* c = cosine + t * pairs;
    const float* s = sine + t * pairs;
    for (int64_t h = 0; h < heads; h++) {
      float* head = x + (t * heads + h) * head_dim;
      for (int64_t i = 0; i < pairs; i++) {
        const float a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * c[i] - b * s[i];
        head[2 * i + 1] = b * c[i] + a * s[i];
      }
    }
  }
  return LACO_OK;
}
