#include "vec.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Number of vectors whose sum is in f32 before it is added in f64: few enough that relative errors of the
// f32 sums are a few 1e-7.
constexpr int64_t kBlock = 64;

struct Products {
  double ab, aa, bb;
};

Products products(const float* a, const float* b, int64_t n) {
  Products total = {};
  for (int64_t start = 0; start < n; start += kBlock * W) {
    const int64_t end = min(n, start + kBlock * W);
    Vec ab[2] = {}, aa[2] = {}, bb[2] = {};
    int64_t i = start;
    for (; i + 2 * W <= end; i += 2 * W) {
      for (int k = 0; k < 2; k++) {
        prefetch(a + i + k * W);
        prefetch(b + i + k * W);
        Vec x = load(a + i + k * W), y = load(b + i + k * W);
        ab[k] = fma(x, y, ab[k]);
        aa[k] = fma(x, x, aa[k]);
        bb[k] = fma(y, y, bb[k]);
      }
    }
    for (; i < end; i += W) {
      Vec x = i + W <= end ? load(a + i) : load(a + i, end - i);
      Vec y = i + W <= end ? load(b + i) : load(b + i, end - i);
      ab[0] = fma(x, y, ab[0]);
      aa[0] = fma(x, x, aa[0]);
      bb[0] = fma(y, y, bb[0]);
    }
    total.ab += sum(ab[0]) + sum(ab[1]);
    total.aa += sum(aa[0]) + sum(aa[1]);
    total.bb += sum(bb[0]) + sum(bb[1]);
  }
  return total;
}

double norm(double squares) {
  const double root = __builtin_sqrt(squares);
  return root < 1e-8 ? 1e-8 : root;
}

}  // namespace

// One cosine per sequence of flattened rows offsets[s] .. offsets[s+1] of a, b [rows, width].
// scratch [rows, 3] has the sums of each row. They are added in the order of rows, so that the result does not
// depend on the number of threads.
LACO_KERNEL(cosine)
(const float* a, const float* b, int64_t rows, int64_t width, const int32_t* offsets,
 int64_t sequences, double* scratch, double* out) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
  for (int64_t r = 0; r < rows; r++) {
    Products p = products(a + r * width, b + r * width, width);
    scratch[3 * r] = p.ab;
    scratch[3 * r + 1] = p.aa;
    scratch[3 * r + 2] = p.bb;
  }
  for (int64_t s = 0; s < sequences; s++) {
    Products p = {};
    for (int64_t r = offsets[s]; r < offsets[s + 1]; r++) {
      p.ab += scratch[3 * r];
      p.aa += scratch[3 * r + 1];
      p.bb += scratch[3 * r + 2];
    }
    out[s] = p.ab / (norm(p.aa) * norm(p.bb));
  }
  return LACO_OK;
}
