// norm_gradient.cu against the gradients of RMS norm and layer norm in f64.
#include <algorithm>

#include "check.hpp"

namespace {

constexpr size_t kTensors = 6;  // x, weight, gradient, partial sums of weight and bias, and out

struct Case {
  size_t rows;
  size_t columns;
  unsigned threads;
  size_t part;  // rows of a part
  bool center = false;
  size_t sets = 1;
  bool biased = true;
  bool in_place = false;
  size_t shifts[kTensors] = {};

  std::string words() const {
    return std::string(center ? "layer" : "rms") + " norm of " + std::to_string(rows) + " rows of " +
           std::to_string(columns) + " in parts of " + std::to_string(part) + ", " + std::to_string(threads) +
           " threads";
  }
};

template <class W>
void run(const Case& c) {
  const float eps = 1e-5f, offset = 1;
  const size_t of_set = c.rows / c.sets, parts = (of_set + c.part - 1) / c.part;
  const std::vector<float> x = check::random<float>(c.rows * c.columns);
  const std::vector<float> gradient = check::random<float>(x.size());
  const std::vector<W> weight = check::random<W>(c.sets * c.columns);
  check::Buffer<float> device_x(x, c.shifts[0]), from(gradient, c.shifts[2]), own(x.size(), c.shifts[5]);
  check::Buffer<W> device_weight(weight, c.shifts[1]);
  check::Buffer<float> by_weight(parts * weight.size(), c.shifts[3]), by_bias(parts * weight.size(), c.shifts[4]);
  float* out = c.in_place ? from.data() : own.data();
  const std::string kernel = std::string("laco_") + (c.center ? "layer" : "rms") + "_norm_gradient_" +
                             check::type_name<W>() + "_v1";
  const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>(c.sets));
  const auto columns = static_cast<int64_t>(c.columns), rows = static_cast<int64_t>(c.rows);
  const auto part = static_cast<int64_t>(c.part);
  const float* device_from = from.data();
  if (c.center) {
    check::launch(kernel, grid, c.threads, 0, static_cast<const float*>(device_x.data()),
                  static_cast<const W*>(device_weight.data()), device_from, by_weight.data(),
                  c.biased ? by_bias.data() : nullptr, out, rows, part, columns, eps, offset);
  } else {
    check::launch(kernel, grid, c.threads, 0, static_cast<const float*>(device_x.data()),
                  static_cast<const W*>(device_weight.data()), device_from, by_weight.data(), out, rows, part, columns,
                  eps, offset);
  }

  const auto n = static_cast<double>(c.columns);
  std::vector<double> weight_sums(by_weight.size()), bias_sums(by_weight.size());
  for (size_t r = 0; r < c.rows; r++) {
    const size_t start = r * c.columns, set = r % c.sets * c.columns;
    const size_t sums = r / c.sets / c.part * weight.size() + set;
    double mean = 0, variance = 0;
    for (size_t i = 0; c.center && i < c.columns; i++) {
      mean += check::wide(x[start + i]) / n;
    }
    for (size_t i = 0; i < c.columns; i++) {
      const double deviation = check::wide(x[start + i]) - mean;
      variance += deviation * deviation / n;
    }
    const double root = std::sqrt(variance + check::wide(eps));
    std::vector<double> normed(c.columns), along(c.columns);
    double sum = 0, product = 0;
    for (size_t i = 0; i < c.columns; i++) {
      normed[i] = (check::wide(x[start + i]) - mean) / root;
      along[i] = check::wide(gradient[start + i]) * (check::wide(weight[set + i]) + check::wide(offset));
      sum += c.center ? along[i] : 0;
      product += along[i] * normed[i];
      weight_sums[sums + i] += check::wide(gradient[start + i]) * normed[i];
      bias_sums[sums + i] += check::wide(gradient[start + i]);
    }
    for (size_t i = 0; i < c.columns; i++) {
      const double expected = (along[i] - sum / n - normed[i] * product / n) / root;
      CHECK_CLOSE(check::wide(out[start + i]), expected, 5e-6 * (1 + 1 / root) * (1 + std::abs(along[i])),
                  c.words() + ", row " + std::to_string(r) + ", column " + std::to_string(i));
    }
  }
  for (size_t i = 0; i < by_weight.size(); i++) {
    const double tolerance = 2e-6 * static_cast<double>(c.part);
    CHECK_CLOSE(check::wide(by_weight[i]), weight_sums[i], tolerance, c.words() + ", weight " + std::to_string(i));
    if (c.center && c.biased) {
      CHECK_CLOSE(check::wide(by_bias[i]), bias_sums[i], tolerance, c.words() + ", bias " + std::to_string(i));
    }
  }
}

}  // namespace

TEST(norm_gradient_takes_every_width_and_weight) {
  for (bool center : {false, true}) {
    for (size_t columns : {2, 7, 32, 33, 128, 257, 1000}) {
      const unsigned threads = static_cast<unsigned>(std::min<size_t>(256, (columns + 127) / 128 * 32));
      run<float>({5, columns, threads, 2, center});
      run<__half>({3, columns, threads, 3, center});
      run<__nv_bfloat16>({3, columns, threads, 1, center});
    }
  }
}

TEST(norm_gradient_takes_rows_longer_than_registers_hold) {
  for (bool center : {false, true}) {
    run<__nv_bfloat16>({5, 1032, 32, 3, center});
    run<float>({5, 333, 32, 2, center});
    run<float>({3, 333, 32, 3, center, 1, false});
    run<float>({3, 1032, 32, 3, center, 1, true, true});
  }
}

TEST(norm_gradient_takes_unaligned_tensors) {
  for (bool center : {false, true}) {
    for (size_t tensor = 0; tensor < kTensors; tensor++) {
      Case c{3, 136, 64, 2, center};
      c.shifts[tensor] = 1;
      run<float>(c);
      run<__half>(c);
    }
  }
}

TEST(norm_gradient_takes_a_weight_for_each_head_and_no_bias) {
  run<float>({12, 34, 32, 2, true, 3});
  run<float>({12, 34, 32, 4, true, 3, false});
  run<__nv_bfloat16>({8, 36, 32, 1, true, 2, true, true});
}
