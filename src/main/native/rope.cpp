#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Calls turn(head, cosine, sine) for every head of x [rows, heads * head_dim], with the cosines and sines [pairs] of
// its token.
template <class Turn>
void turn_heads(float* x, const float* cosine, const float* sine, int64_t rows, int64_t heads, int64_t head_dim,
                int64_t pairs, Turn turn) {
#pragma omp parallel for schedule(static) if (rows * heads * head_dim > kParallelLight)
  for (int64_t t = 0; t < rows; t++) {
    for (int64_t h = 0; h < heads; h++) {
      turn(x + (t * heads + h) * head_dim, cosine + t * pairs, sine + t * pairs);
    }
  }
}

}  // namespace

// Rotates, in place, element i of every head with element i + pairs by `turns` times the angle of its token: 1, or -1,
// which turns back. x [rows, heads * head_dim], cosine, sine [rows, pairs].
LACO_KERNEL(rope)
(float* x, const float* cosine, const float* sine, int64_t rows, int64_t heads, int64_t head_dim,
 int64_t pairs, float turns) {
  turn_heads(x, cosine, sine, rows, heads, head_dim, pairs, [=](float* first, const float* c, const float* s) {
    float* second = first + pairs;
    int64_t i = 0;
    for (; i + W <= pairs; i += W) {
      Vec a = load(first + i), b = load(second + i), vc = load(c + i), vs = load(s + i) * turns;
      store(first + i, fma(a, vc, -(b * vs)));
      store(second + i, fma(b, vc, a * vs));
    }
    if (i < pairs) {
      const int64_t n = pairs - i;
      Vec a = load(first + i, n), b = load(second + i, n), vc = load(c + i, n), vs = load(s + i, n) * turns;
      store(first + i, fma(a, vc, -(b * vs)), n);
      store(second + i, fma(b, vc, a * vs), n);
    }
  });
  return LACO_OK;
}

// Rotates, in place, element 2 i of every head with element 2 i + 1. Arguments as those of rope.
LACO_KERNEL(rope_neighbours)
(float* x, const float* cosine, const float* sine, int64_t rows, int64_t heads, int64_t head_dim,
 int64_t pairs, float turns) {
  turn_heads(x, cosine, sine, rows, heads, head_dim, pairs, [=](float* head, const float* c, const float* s) {
    for (int64_t i = 0; i < pairs; i++) {
      const float a = head[2 * i], b = head[2 * i + 1], sine_of = s[i] * turns;
      head[2 * i] = a * c[i] - b * sine_of;
      head[2 * i + 1] = b * c[i] + a * sine_of;
    }
  });
  return LACO_OK;
}
