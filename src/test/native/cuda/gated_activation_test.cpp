// gated_activation.cu against the activations and their derivatives in f64.
#include "check.hpp"

namespace {

constexpr int kActivations = 7;

double activate(int activation, double x) {
  switch (activation) {
    case 0:
      return x / (1 + std::exp(-x));
    case 1:
      return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case 3:
      return x < 0 ? 0 : x;
    case 4:
      return x < 0 ? 0 : x > 1e19 ? INFINITY : x * x;  // beyond the range of f32
    case 5:
      return 1 / (1 + std::exp(-x));
    case 6:
      return x;
    default:
      // x (1 + tanh(u)) / 2, written without the sum 1 + tanh(u), which loses digits for negative u.
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
}

// The derivative of an activation, and the sum of the magnitudes of its terms.
struct Slope {
  double value, terms;
};

Slope slope(int activation, double x) {
  if (activation == 5) {
    const double value = 1 / (1 + std::exp(x)) / (1 + std::exp(-x));
    return {value, value};
  }
  if (activation == 6) {
    return {1, 1};
  }
  if (activation > 2) {
    const double value = x <= 0 ? 0 : activation == 3 ? 1 : 2 * x;
    return {value, value};
  }
  x = std::fmax(-1000, std::fmin(x, 1000));
  double first = 0.5 * std::erfc(-x * std::sqrt(0.5));
  double second = x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
  if (activation != 1) {
    const double scale = activation == 0 ? 1 : 2 * std::sqrt(2 / M_PI);
    const double cube = activation == 0 ? 0 : 0.044715 * x * x * x;
    const double v = scale * (x + cube);
    first = 1 / (1 + std::exp(-v));
    second = scale * (x + 3 * cube) * first * (1 / (1 + std::exp(v)));
  }
  return {first + second, std::abs(first) + std::abs(second)};
}

enum class Out { kOwn, kOverGate, kOverUp };

void run(int activation, const std::vector<float>& gate, const std::vector<float>& up, Out where,
         size_t shift_gate = 0, size_t shift_up = 0, size_t shift_out = 0, bool gated = true) {
  const size_t n = gate.size();
  check::Buffer<float> device_gate(gate, shift_gate), device_up(up, shift_up), own(n, shift_out);
  float* out = where == Out::kOwn ? own.data() : where == Out::kOverUp ? device_up.data() : device_gate.data();
  const float* factors = gated ? device_up.data() : nullptr;
  check::launch("laco_gated_activation_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                static_cast<const float*>(device_gate.data()), factors, static_cast<void*>(out), static_cast<int64_t>(n),
                activation, int32_t{0});
  for (size_t i = 0; i < n; i++) {
    const double expected = activate(activation, check::wide(gate[i])) * (gated ? check::wide(up[i]) : 1);
    // In the tail of GELU a relative error of x becomes x^2 times as large. 1e-30 allows a result of 0 where
    // exponentials in f32 overflow.
    const double square = check::wide(gate[i]) * check::wide(gate[i]);
    const double tolerance = std::isfinite(expected) ? 1e-6 * (1 + square) * std::abs(expected) + 1e-30 : 0;
    CHECK_CLOSE(check::wide(out[i]), expected, tolerance,
                "activation " + std::to_string(activation) + " of " + std::to_string(gate[i]));
  }
}

void run_gradients(int activation, const std::vector<float>& gate, const std::vector<float>& up, bool gated,
                   size_t shift_gate = 0, size_t shift_up = 0, size_t shift_gradient = 0) {
  const size_t n = gate.size();
  const std::vector<float> gradient = check::random<float>(n);
  check::Buffer<float> device_gate(gate, shift_gate), device_up(up, shift_up), from(gradient, shift_gradient);
  check::launch("laco_gated_gradients_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0, device_gate.data(),
                gated ? device_up.data() : nullptr, static_cast<const float*>(from.data()), static_cast<int64_t>(n),
                activation);
  for (size_t i = 0; i < n; i++) {
    const double x = check::wide(gate[i]), along = check::wide(gradient[i]);
    const double factor = gated ? along * check::wide(up[i]) : along;
    const std::string what = "activation " + std::to_string(activation) + " of " + std::to_string(gate[i]);
    const Slope by_gate = slope(activation, x);
    const double square = std::fmin(x * x, 1e6);
    // The slope of a gate that is its own activation is 1 everywhere.
    const bool of_nan = std::isnan(x) && activation != 6;
    CHECK_CLOSE(check::wide(device_gate[i]), of_nan ? x : factor * by_gate.value,
                1e-6 * (1 + square) * std::abs(factor) * by_gate.terms + 1e-30, "by the gate, " + what);
    const double by_up = gated ? along * activate(activation, x) : check::wide(up[i]);
    const double tolerance = std::isfinite(by_up) ? 1e-6 * (1 + x * x) * std::abs(by_up) + 1e-30 : 0;
    CHECK_CLOSE(check::wide(device_up[i]), by_up, gated ? tolerance : 0, "by the factor, " + what);
  }
}

}  // namespace

TEST(gated_activation_takes_every_length_and_alignment) {
  for (int activation = 0; activation < kActivations; activation++) {
    for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 3001}) {
      for (size_t shift = 0; shift < 4; shift++) {
        const std::vector<float> gate = check::random<float>(n), up = check::random<float>(n);
        run(activation, gate, up, Out::kOwn, shift, 0, 0);
        run(activation, gate, up, Out::kOwn, 0, shift, 0);
        run(activation, gate, up, Out::kOwn, 0, 0, shift);
        run(activation, gate, up, Out::kOverGate, shift, shift);
        run(activation, gate, up, Out::kOverUp, shift, shift);
        run(activation, gate, up, Out::kOverGate, shift, 0, 0, false);
        run_gradients(activation, gate, up, true, shift, shift, shift);
        run_gradients(activation, gate, up, true, shift, 0, 0);
        run_gradients(activation, gate, up, true, 0, shift, 0);
        run_gradients(activation, gate, up, true, 0, 0, shift);
        run_gradients(activation, gate, up, false, shift, 0, shift);
      }
    }
  }
}

// Rounded to T, what the kernel computes in f32.
template <class T>
void run_rounded(int32_t type, size_t n, size_t shift) {
  const std::vector<float> gate = check::random<float>(n), up = check::random<float>(n);
  check::Buffer<float> device_gate(gate, 0), device_up(up, 0), plain(n, 0);
  check::Buffer<T> rounded(n, shift);
  const unsigned grid = static_cast<unsigned>((n + 1023) / 1024);
  for (bool gated : {false, true}) {
    const float* factors = gated ? device_up.data() : nullptr;
    for (void* out : {static_cast<void*>(plain.data()), static_cast<void*>(rounded.data())}) {
      check::launch("laco_gated_activation_f32_v1", grid, 256, 0, static_cast<const float*>(device_gate.data()), factors,
                    out, static_cast<int64_t>(n), int32_t{0}, out == plain.data() ? int32_t{0} : type);
    }
    for (size_t i = 0; i < n; i++) {
      CHECK_CLOSE(check::wide(rounded[i]), check::wide(check::narrow<T>(plain[i])), 0, "element " + std::to_string(i));
    }
  }
}

TEST(gated_activation_rounds_its_result) {
  for (size_t n : {1, 7, 1023, 1024, 3001}) {
    for (size_t shift : {0, 1, 4}) {
      run_rounded<__half>(1, n, shift);
      run_rounded<__nv_bfloat16>(2, n, shift);
    }
  }
}

TEST(gated_activation_holds_over_the_whole_range) {
  std::vector<float> gate;
  for (float x = -12; x < 12; x += 0.01f) {
    gate.push_back(x);
  }
  for (float x : {0.0f, 1e-30f, 90.0f, -90.0f, 1e4f, -1e4f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN}) {
    gate.push_back(x);
  }
  for (int activation = 0; activation < kActivations; activation++) {
    run(activation, gate, std::vector<float>(gate.size(), 1), Out::kOwn);
    run_gradients(activation, gate, std::vector<float>(gate.size(), 1), true);
  }
}

TEST(clamped_gate) {
  for (size_t n : {1u, 2u, 3u, 4u, 5u, 1023u, 1024u, 1029u}) {
    for (size_t shift : {0u, 1u, 3u}) {
      std::vector<float> values = check::random<float>(2 * n, 6.0);
      values[0] = std::numeric_limits<float>::infinity();
      values[1] = -std::numeric_limits<float>::infinity();
      values[2 * n - 1] = n % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -1000;
      check::Buffer<float> gate_up(values, shift), out(n, shift);
      check::launch("laco_clamped_gate_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                    static_cast<const float*>(gate_up.data()), out.data(), static_cast<int64_t>(n), 1.702f, 7.0f);
      for (size_t i = 0; i < n; i++) {
        const double gate = std::fmin(check::wide(values[2 * i]), 7), raw = check::wide(values[2 * i + 1]);
        const double up = std::isnan(raw) ? raw : std::fmax(-7, std::fmin(raw, 7));
        const double expected = gate * (up + 1) / (1 + std::exp(-static_cast<double>(1.702f) * gate));
        CHECK_CLOSE(check::wide(out[i]), expected, std::isnan(expected) ? 0 : 2e-6 * std::abs(expected) + 1e-30,
                    "channel " + std::to_string(i) + " of " + std::to_string(n));
      }
    }
  }
}

TEST(clamped_gate_gradients) {
  for (size_t n : {1u, 2u, 3u, 4u, 5u, 1023u, 1024u, 1029u}) {
    for (size_t shift : {0u, 1u, 3u}) {
      std::vector<float> values = check::random<float>(2 * n, 6.0), by = check::random<float>(n, 1.0);
      values[0] = 7;
      values[1] = -7;
      values[2 * n - 2] = n % 2 == 0 ? std::numeric_limits<float>::infinity() : -1000;
      check::Buffer<float> gate_up(values, shift), gradient(by, shift);
      check::launch("laco_clamped_gate_gradients_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                    gate_up.data(), static_cast<const float*>(gradient.data()), static_cast<int64_t>(n), 1.702f, 7.0f);
      for (size_t i = 0; i < n; i++) {
        const double gate = check::wide(values[2 * i]), up = check::wide(values[2 * i + 1]);
        const double limited = std::fmin(gate, 7), factor = std::fmax(-7, std::fmin(up, 7)) + 1;
        const double steep = 1.702f, share = 1 / (1 + std::exp(-steep * limited));
        const double first = check::wide(by[i]) * factor * share;
        const double second = first * steep * limited / (1 + std::exp(steep * limited));
        const double by_up = check::wide(by[i]) * limited * share;
        const std::string where = "channel " + std::to_string(i) + " of " + std::to_string(n);
        CHECK_CLOSE(check::wide(gate_up[2 * i]), gate > 7 ? 0 : first + second,
                    2e-6 * (std::abs(first) + std::abs(second)) + 1e-30, where);
        CHECK_CLOSE(check::wide(gate_up[2 * i + 1]), std::abs(up) > 7 ? 0 : by_up, 2e-6 * std::abs(by_up) + 1e-30, where);
      }
    }
  }
}
