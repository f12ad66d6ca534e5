// The gradients of rms_norm and layer_norm. The gradients of the weights are sums over rows: of kChunks chunks of rows
// first, then of the chunks, so that the order does not depend on the number of threads.
#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

constexpr int64_t kChunks = 64;

// Ones in the first `count` elements, and zeros behind them.
inline Vec ones() { return splat(1); }
inline Vec ones(int64_t count) {
  Vec v = {};
  for (int64_t i = 0; i < count; i++) {
    v[i] = 1;
  }
  return v;
}

// One row: writes the gradient by x and adds to those of weight and bias; bias_sums may be null. A layer norm is
// centred, an RMS norm leaves the mean in its place. In f64, since little may be left of the differences.
template <bool centred, class T>
inline void differentiate(const float* x, const T* weight, float offset, double eps, int64_t width,
                          const float* gradient, float* weight_sums, float* bias_sums, float* out) {
  const double count = static_cast<double>(width);
  double mean = 0;
  if (centred) {
    Wide total = {};
    each_vector(width, [&](int64_t i, auto... n) {
      const Vec v = load(x + i, n...);
      total += low(v) + high(v);
    });
    mean = sum(total) / count;
  }
  Wide squares = {}, gradients = {}, products = {};
  each_vector(width, [&](int64_t i, auto... n) {
    auto add = [&](Wide v, Wide by_out, Wide scale, Wide there) {
      const Wide deviation = centred ? (v - mean) * there : v;
      const Wide g = by_out * scale;
      squares += deviation * deviation;
      products += deviation * g;
      gradients += g;
    };
    const Vec v = load(x + i, n...), by_out = load(gradient + i, n...), scale = load(weight + i, n...) + offset;
    const Vec there = ones(n...);
    add(low(v), low(by_out), low(scale), low(there));
    add(high(v), high(by_out), high(scale), high(there));
  });
  const double inverse = 1 / __builtin_sqrt(sum(squares) / count + eps);
  const double centre = centred ? sum(gradients) / count : 0;
  const double along = sum(products) / count * inverse;
  each_vector(width, [&](int64_t i, auto... n) {
    auto normalise = [&](Wide v) { return (v - mean) * inverse; };
    auto differentiate = [&](Wide normal, Wide by_out, Wide scale) {
      return (by_out * scale - centre - normal * along) * inverse;
    };
    const Vec v = load(x + i, n...), by_out = load(gradient + i, n...), scale = load(weight + i, n...) + offset;
    const Wide lower = normalise(low(v)), upper = normalise(high(v));
    store(weight_sums + i, fma(by_out, nearest(lower, upper), load(weight_sums + i, n...)), n...);
    if (bias_sums != nullptr) {
      store(bias_sums + i, load(bias_sums + i, n...) + by_out, n...);
    }
    store(out + i,
          nearest(differentiate(lower, low(by_out), low(scale)), differentiate(upper, high(by_out), high(scale))),
          n...);
  });
}

// sums[i] += the chunks' sums of i.
void add_chunks(const float* chunks, int64_t count, int64_t n, float* sums) {
  each_vector(n, [&](int64_t i, auto... rest) {
    Vec total = {};
    for (int64_t chunk = 0; chunk < count; chunk++) {
      total += load(chunks + chunk * n + i, rest...);
    }
    store(sums + i, load(sums + i, rest...) + total, rest...);
  });
}

}  // namespace

// Number of floats that laco_norm_gradient needs as scratch.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_norm_gradient_scratch_,
                                                                    LACO_TIER)(int64_t rows, int64_t width,
                                                                               int64_t sets);
int64_t LACO_JOIN(laco_norm_gradient_scratch_, LACO_TIER)(int64_t rows, int64_t width, int64_t sets) {
  return 2 * min(rows, kChunks) * sets * width;
}

// Of a layer norm where centred is not 0, else of an RMS norm; weights have `offset` added. x, gradient, out
// [rows, width], out may be gradient; weight, weight_gradient, bias_gradient [sets, width], row r has row r % sets of
// them. Adds to weight_gradient and bias_gradient, which may be null.
LACO_KERNEL(norm_gradient)
(const float* x, const void* weight, int32_t dtype, int32_t centred, double eps, float offset, int64_t rows,
 int64_t width, int64_t sets, const float* gradient, float* scratch, float* weight_gradient, float* bias_gradient,
 float* out) {
  const int64_t chunks = min(rows, kChunks);
  const int64_t size = sets * width;
  float* bias_chunks = bias_gradient == nullptr ? nullptr : scratch + chunks * size;
  const int32_t status = with_dtype(dtype, weight, [&](auto* scale) {
#pragma omp parallel for schedule(static) if (rows * width > kParallelLight)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
      float* weight_sums = scratch + chunk * size;
      float* bias_sums = bias_chunks == nullptr ? nullptr : bias_chunks + chunk * size;
      std::memset(weight_sums, 0, static_cast<size_t>(size) * sizeof *weight_sums);
      if (bias_sums != nullptr) {
        std::memset(bias_sums, 0, static_cast<size_t>(size) * sizeof *bias_sums);
      }
      for (int64_t r = rows * chunk / chunks; r < rows * (chunk + 1) / chunks; r++) {
        const int64_t at = r * width, set = r % sets * width;
        auto* own_biases = bias_sums == nullptr ? nullptr : bias_sums + set;
        if (centred != 0) {
          differentiate<true>(x + at, scale + set, offset, eps, width, gradient + at, weight_sums + set, own_biases,
                              out + at);
        } else {
          differentiate<false>(x + at, scale + set, offset, eps, width, gradient + at, weight_sums + set, own_biases,
                               out + at);
        }
      }
    }
  });
  if (status != LACO_OK) {
    return status;
  }
  add_chunks(scratch, chunks, size, weight_gradient);
  if (bias_gradient != nullptr) {
    add_chunks(bias_chunks, chunks, size, bias_gradient);
  }
  return LACO_OK;
}
