// norm.cu against RMS norm and layer norm in f64.
#include <algorithm>
#include <type_traits>

#include "check.hpp"

namespace {

// Relative error of an f32 sum of squares, rsqrtf and two products.
constexpr double kTolerance = 2e-6;

std::vector<double> plain_norm(const std::vector<double>& x, const std::vector<double>& weight,
                               const std::vector<double>& bias, double eps, double offset) {
  const double n = static_cast<double>(x.size());
  double mean = 0;
  for (size_t i = 0; !bias.empty() && i < x.size(); i++) {
    mean += x[i] / n;
  }
  double squares = 0;
  for (double value : x) {
    squares += (value - mean) * (value - mean);
  }
  std::vector<double> result(x.size());
  for (size_t i = 0; i < x.size(); i++) {
    result[i] = (offset + weight[i]) * (x[i] - mean) / std::sqrt(squares / n + eps) + (bias.empty() ? 0 : bias[i]);
  }
  return result;
}

template <class T>
std::vector<double> wide(const std::vector<T>& values) {
  std::vector<double> result;
  for (T value : values) {
    result.push_back(check::wide(value));
  }
  return result;
}

enum class Out { kOwn, kOverX, kOverY };

struct Case {
  size_t rows;
  size_t columns;
  unsigned threads;
  bool add = false;
  bool center = false;
  Out out = Out::kOwn;
  // Elements by which x, y, the separate out, weight and bias are misaligned.
  size_t shifts[5] = {};
};

// With weights of W and a result of To.
template <class W, class To = float>
void run(const Case& c, std::vector<float> x, double mean = 0) {
  const float eps = 1e-5f;
  const float offset = c.columns % 2 == 0 ? 1.0f : 0.0f;  // added to the weights
  for (float& value : x) {
    value += static_cast<float>(mean);
  }
  const std::vector<float> y = check::random<float>(x.size());
  const std::vector<W> weight = check::random<W>(c.columns);
  const std::vector<W> bias = check::random<W>(c.columns);
  check::Buffer<float> device_x(x, c.shifts[0]), device_y(y, c.shifts[1]);
  check::Buffer<To> own(x.size(), c.shifts[2]);
  check::Buffer<W> device_weight(weight, c.shifts[3]), device_bias(bias, c.shifts[4]);
  To* out = own.data();
  if constexpr (sizeof(To) == sizeof(float)) {
    out = c.out == Out::kOwn ? out : c.out == Out::kOverX ? device_x.data() : device_y.data();
  }
  void* to = out;
  const int32_t type = check::kCode<To>;
  const std::string kernel = std::string("laco_") + (c.add ? "add_" : "") + (c.center ? "layer" : "rms") +
                             "_norm_" + check::type_name<W>() + "_v1";
  const std::string what = kernel + " " + std::to_string(c.columns) + " columns, " +
                           std::to_string(c.threads) + " threads";
  const unsigned grid = static_cast<unsigned>(c.rows);
  const auto columns = static_cast<int64_t>(c.columns);
  const float* from_x = device_x.data();
  const float* from_y = device_y.data();
  const W* scale = device_weight.data();
  const W* shift = device_bias.data();
  if (c.add && c.center) {
    check::launch(kernel, grid, c.threads, 0, device_x.data(), from_y, scale, shift, to, columns, eps, offset, type);
  } else if (c.add) {
    check::launch(kernel, grid, c.threads, 0, device_x.data(), from_y, scale, to, columns, eps, offset, type);
  } else if (c.center) {
    check::launch(kernel, grid, c.threads, 0, from_x, scale, shift, to, columns, int32_t{1}, eps, offset, type);
  } else {
    check::launch(kernel, grid, c.threads, 0, from_x, scale, to, columns, eps, offset, type);
  }
  for (size_t r = 0; r < c.rows; r++) {
    std::vector<double> row;
    for (size_t i = r * c.columns; i < (r + 1) * c.columns; i++) {
      const float sum = c.add ? x[i] + y[i] : x[i];
      if (c.add) {
        CHECK_CLOSE(check::wide(device_x[i]), check::wide(sum), 0, what + ", the sum");
      }
      row.push_back(check::wide(sum));
    }
    const std::vector<double> expected =
        plain_norm(row, wide(weight), c.center ? wide(bias) : std::vector<double>(), 1e-5, check::wide(offset));
    for (size_t i = 0; i < c.columns; i++) {
      CHECK_CLOSE(check::wide(out[r * c.columns + i]), expected[i],
                  kTolerance * (1 + std::abs(expected[i])) * (1 + std::abs(mean)) + check::kRounding<To> * std::abs(expected[i]),
                  what + ", row " + std::to_string(r) + ", column " + std::to_string(i));
    }
  }
}

template <class W, class To = float>
void run(const Case& c) {
  run<W, To>(c, check::random<float>(c.rows * c.columns));
}

// Threads of a block as the backend chooses them.
unsigned threads_for(size_t columns) {
  const size_t threads = (columns / 4 + 31) / 32 * 32;
  return static_cast<unsigned>(threads < 32 ? 32 : threads > 256 ? 256 : threads);
}

template <class Function>
void for_each_norm(Function f) {
  for (bool add : {false, true}) {
    for (bool center : {false, true}) {
      f(add, center);
    }
  }
}

template <class X>
void inverse_rms() {
  for (size_t columns : {1, 3, 4, 7, 32, 33, 127, 257, 512, 4099, 9000}) {
    for (unsigned threads : {32, 256, 512}) {
      for (size_t shift : {0, 1}) {
        std::vector<X> x = check::random<X>(3 * columns);
        std::fill(x.begin(), x.begin() + static_cast<int64_t>(columns), check::narrow<X>(0));
        x.back() = check::narrow<X>(NAN);
        check::Buffer<X> device(x, shift);
        check::Buffer<float> out(3);
        const std::string kernel = std::string("laco_inverse_rms_") + check::type_name<X>() + "_v1";
        check::launch(kernel, 3, threads, 0, static_cast<const X*>(device.data()), out.data(),
                      static_cast<int64_t>(columns), 1e-6f);
        double mean = 0;
        for (size_t i = columns; i < 2 * columns; i++) {
          mean += check::wide(x[i]) * check::wide(x[i]) / static_cast<double>(columns);
        }
        const double expected = 1 / std::sqrt(std::max(mean, 1e-6));
        const std::string what = std::to_string(columns) + " columns, " + std::to_string(threads) + " threads";
        CHECK_CLOSE(check::wide(out[0]), 1e3, 1e-3, what);
        CHECK_CLOSE(check::wide(out[1]), expected, kTolerance * expected, what);
        CHECK_CLOSE(check::wide(out[2]), static_cast<double>(NAN), 0, what);
      }
    }
  }
}

}  // namespace

TEST(norm_takes_every_width_and_weight) {
  for_each_norm([](bool add, bool center) {
    for (size_t columns : {1, 7, 31, 32, 33, 127, 128, 257, 1000, 4096}) {
      const Case c{2, columns, threads_for(columns), add, center};
      run<float>(c);
      run<__half>(c);
      run<__nv_bfloat16>(c);
    }
  });
}

TEST(norm_takes_every_block) {
  for_each_norm([](bool add, bool center) {
    for (unsigned threads : {32u, 64u, 96u, 256u, 512u}) {
      run<__nv_bfloat16>({2, 1032, threads, add, center});  // 32 threads read most of the row twice
      run<float>({1, 333, threads, add, center});
    }
  });
}

TEST(norm_takes_unaligned_rows_and_weights) {
  for_each_norm([](bool add, bool center) {
    for (size_t shift = 1; shift < 4; shift++) {
      for (size_t tensor = 0; tensor < 5; tensor++) {
        Case c{2, 136, 64, add, center, Out::kOwn, {}};
        c.shifts[tensor] = shift;
        run<float>(c);
        run<__half>(c);
      }
    }
    run<float>({1, 6, 32, add, center, Out::kOwn, {2, 2, 2, 2, 2}});  // equally aligned, but not to vectors
  });
}

TEST(norm_rounds_its_result) {
  for_each_norm([](bool add, bool center) {
    for (size_t columns : {1, 7, 32, 33, 128, 257, 1032}) {
      for (size_t shift : {0, 1, 4}) {
        const Case c{2, columns, threads_for(columns), add, center, Out::kOwn, {0, 0, shift, 0, 0}};
        run<float, __half>(c);
        run<__nv_bfloat16, __nv_bfloat16>(c);
      }
    }
  });
}

TEST(norm_writes_over_its_inputs) {
  for (unsigned threads : {32u, 256u}) {
    for (size_t columns : {127, 1028}) {
      for (bool center : {false, true}) {
        run<float>({3, columns, threads, false, center, Out::kOverX});
        run<float>({3, columns, threads, true, center, Out::kOverY});
      }
    }
  }
}

TEST(norm_keeps_nan_and_infinity_to_their_row) {
  for_each_norm([](bool add, bool center) {
    for (float value : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> x = check::random<float>(3 * 260);
      x[260 + 77] = value;
      run<float>({3, 260, 64, add, center}, x);
    }
  });
}

TEST(layer_norm_takes_a_weight_for_each_head_and_no_bias) {
  const size_t rows = 6, columns = 34, sets = 3;
  const std::vector<float> x = check::random<float>(rows * columns);
  const std::vector<float> weight = check::random<float>(sets * columns);
  const std::vector<float> bias = check::random<float>(sets * columns);
  check::Buffer<float> device_x(x, 0), device_weight(weight, 0), device_bias(bias, 0);
  for (const float* shift : {static_cast<const float*>(nullptr), static_cast<const float*>(device_bias.data())}) {
    check::Buffer<float> out(x.size());
    check::launch("laco_layer_norm_f32_v1", static_cast<unsigned>(rows), 32, 0,
                  static_cast<const float*>(device_x.data()), static_cast<const float*>(device_weight.data()), shift,
                  static_cast<void*>(out.data()), static_cast<int64_t>(columns), static_cast<int32_t>(sets), 1e-5f,
                  0.5f, int32_t{0});
    for (size_t r = 0; r < rows; r++) {
      const auto part = [&](const std::vector<float>& from, size_t row) {
        return wide(std::vector<float>(from.begin() + static_cast<int64_t>(row * columns),
                                       from.begin() + static_cast<int64_t>((row + 1) * columns)));
      };
      const std::vector<double> zeros(columns, 0.0);
      const std::vector<double> expected = plain_norm(part(x, r), part(weight, r % sets),
                                                      shift == nullptr ? zeros : part(bias, r % sets), 1e-5, 0.5);
      for (size_t i = 0; i < columns; i++) {
        CHECK_CLOSE(check::wide(out[r * columns + i]), expected[i], kTolerance * (1 + std::abs(expected[i])),
                    "row " + std::to_string(r) + ", column " + std::to_string(i));
      }
    }
  }
}

TEST(norm_of_rows_far_from_zero_cancels_nothing) {
  run<float>({2, 1000, 256, false, true}, check::random<float>(2000), 1000);
}

TEST(inverse_rms_takes_every_width_alignment_block_and_type) {
  inverse_rms<float>();
  inverse_rms<__half>();
  inverse_rms<__nv_bfloat16>();
}
