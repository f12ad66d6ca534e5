#include "math.hpp"

using namespace LACO_NAMESPACE;

namespace {

// Gates and ups of up to W channels; channels behind the last one are 0.
struct Channels {
  float gates[W] = {}, ups[W] = {};

  Channels(const float* gate_up, int64_t count) {
    for (int64_t j = 0; j < count; j++) {
      gates[j] = gate_up[2 * j];
      ups[j] = gate_up[2 * j + 1];
    }
  }
};

// What is larger than most becomes most; NaN stays.
inline Vec at_most(Vec x, Vec most) { return select(x > most, most, x); }

// What is smaller than least becomes least; NaN stays.
inline Vec at_least(Vec x, Vec least) { return select(x < least, least, x); }

}  // namespace

// The gate of an expert of gpt-oss. gate_up [n, 2] has gate and up of each channel side by side. out[i] = g / (1 +
// exp(-slope g)) (u + 1) with g = min(gate, limit) and u = min(max(up, -limit), limit); NaN stays. out [n] is other memory.
LACO_KERNEL(clamped_gate)
(const float* gate_up, int64_t n, float slope, float limit, float* out) {
  const Vec most = splat(limit);
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t i = 0; i < n; i += W) {
    const int64_t count = min(W, n - i);
    const Channels channels(gate_up + 2 * i, count);
    const Vec gate = at_most(load(channels.gates), most);
    const Vec up = at_least(at_most(load(channels.ups), most), -most);
    const Vec result = gate / (1.0f + exp(-slope * gate)) * (up + 1.0f);
    if (count == W) {
      store(out + i, result);
    } else {
      store(out + i, result, count);
    }
  }
  return LACO_OK;
}

// The gradients of clamped_gate by gate and up, in place, from those by out. gate_up [n, 2], gradient [n]. What was beyond
// its limit gets 0. With s(x) = 1 / (1 + exp(-slope x)) they are gradient (u + 1) (g s(g))' and gradient g s(g).
LACO_KERNEL(clamped_gate_gradients)
(float* gate_up, int64_t n, float slope, float limit, const float* gradient) {
  const Vec most = splat(limit), none = splat(0.0f);
#pragma omp parallel for schedule(static) if (n > kParallelLight)
  for (int64_t i = 0; i < n; i += W) {
    const int64_t count = min(W, n - i);
    Channels channels(gate_up + 2 * i, count);
    const Vec gates = load(channels.gates), ups = load(channels.ups);
    const Vec by = load(gradient + i, count);
    const Vec gate = within_1000(at_most(gates, most));
    const Vec up = at_least(at_most(ups, most), -most);
    const Vec by_gate = by * (up + 1.0f) * logistic_slope(slope * gate, slope * gate);
    const Vec by_up = by * (gate / (1.0f + exp(-slope * gate)));
    store(channels.gates, select(gates > most, none, by_gate));
    store(channels.ups, select(ups > most, none, select(ups < -most, none, by_up)));
    for (int64_t j = 0; j < count; j++) {
      gate_up[2 * (i + j)] = channels.gates[j];
      gate_up[2 * (i + j) + 1] = channels.ups[j];
    }
  }
  return LACO_OK;
}
