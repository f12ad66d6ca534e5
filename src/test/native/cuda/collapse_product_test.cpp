// collapse_product.cu against plain loops: a mix that is rounded to T, then a product in f64.
#include <limits>
#include <memory>

#include "check.hpp"

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Shape {
  int rows, out_columns, in_columns;
  // Elements by which tensors lie behind an aligned address; sources beyond the list are aligned.
  std::vector<size_t> weight_shifts = {};
  size_t x_shift = 0;

  size_t weight_shift(size_t i) const { return i < weight_shifts.size() ? weight_shifts[i] : 0; }
};

template <class T>
std::vector<std::vector<T>> random_sources(size_t count, const Shape& shape) {
  std::vector<std::vector<T>> sources;
  for (size_t i = 0; i < count; i++) {
    sources.push_back(check::random<T>(static_cast<size_t>(shape.out_columns * shape.in_columns)));
  }
  return sources;
}

// Element i of the mixed weights: an f64 sum over the sources with a coefficient, in order, rounded once.
template <class T>
double mixed(const std::vector<std::vector<T>>& weights, const std::vector<double>& coefficients, size_t i) {
  double sum = -0.0;
  for (size_t j = 0; j < weights.size(); j++) {
    if (coefficients[j] != 0) {
      sum += coefficients[j] * check::wide(weights[j][i]);
    }
  }
  return check::wide(check::narrow<T>(sum));
}

// Error of an f32 sum of some hundred products, relative to the sum of their magnitudes.
constexpr double kSummed = 1e-6;

// The product is written in To.
template <class To = float, class T>
void run(const Shape& shape, const std::vector<std::vector<T>>& weights, const std::vector<double>& coefficients,
         const std::vector<T>& x, double tolerance = kSummed) {
  const auto rows = static_cast<size_t>(shape.rows), outs = static_cast<size_t>(shape.out_columns),
             ins = static_cast<size_t>(shape.in_columns);
  std::vector<std::unique_ptr<check::Buffer<T>>> weight_memory;
  std::vector<const T*> addresses;
  for (size_t i = 0; i < weights.size(); i++) {
    weight_memory.push_back(std::make_unique<check::Buffer<T>>(weights[i], shape.weight_shift(i)));
    addresses.push_back(weight_memory.back()->data());
  }
  check::Buffer<const T*> table(addresses);
  check::Buffer<double> coefficient_memory(coefficients);
  check::Buffer<T> x_memory(x, shape.x_shift);
  check::Buffer<To> y(rows * outs, 1);
  const std::string kernel = std::string("laco_collapse_product_") + check::type_name<T>() + "_v2";
  check::launch(kernel, dim3((static_cast<unsigned>(outs) + 31) / 32, (static_cast<unsigned>(rows) + 127) / 128),
                dim3(256), 106496, static_cast<const T* const*>(table.data()),
                static_cast<const double*>(coefficient_memory.data()), static_cast<const T*>(x_memory.data()),
                static_cast<void*>(y.data()), int64_t{shape.rows}, int64_t{shape.out_columns},
                int64_t{shape.in_columns}, static_cast<int32_t>(weights.size()), check::kCode<To>);
  const std::string words = kernel + ", " + std::to_string(shape.rows) + " rows, " + std::to_string(outs) + " x " +
                            std::to_string(ins) + " weights of " + std::to_string(weights.size()) + " sources";
  for (size_t o = 0; o < outs; o++) {
    std::vector<double> weight(ins);
    for (size_t i = 0; i < ins; i++) {
      weight[i] = mixed(weights, coefficients, o * ins + i);
    }
    for (size_t r = 0; r < rows; r++) {
      double sum = 0, magnitude = 0;
      for (size_t i = 0; i < ins; i++) {
        const double product = check::wide(x[r * ins + i]) * weight[i];
        sum += product;
        magnitude += std::abs(product);
      }
      const double limit = tolerance * magnitude + check::kRounding<To> * std::abs(sum);
      CHECK_CLOSE(check::wide(y[r * outs + o]), sum, std::isfinite(magnitude) ? limit : 0,
                  words + ", row " + std::to_string(r) + ", column " + std::to_string(o));
    }
  }
}

template <class T, class To = float>
void run_random(const Shape& shape, size_t sources) {
  run<To>(shape, random_sources<T>(sources, shape), check::random<double>(sources),
          check::random<T>(static_cast<size_t>(shape.rows * shape.in_columns)));
}

// Multiplies by the identity: y is then the mixed weights themselves, which are compared bit for bit.
template <class T>
void run_unit(const Shape& shape, const std::vector<std::vector<T>>& weights, const std::vector<double>& coefficients) {
  std::vector<T> unit(static_cast<size_t>(shape.rows * shape.in_columns), check::narrow<T>(0));
  for (int r = 0; r < shape.rows; r++) {
    unit[static_cast<size_t>(r * shape.in_columns + r)] = check::narrow<T>(1);
  }
  run(shape, weights, coefficients, unit, 0);
}

}  // namespace

TEST(collapse_product_of_every_shape) {
  for (int columns : {1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 40, 64, 95, 130}) {
    run_random<__nv_bfloat16>({18, 33, columns}, 3);
    run_random<__half>({5, 10, columns}, 2);
  }
  for (int columns : {1, 2, 31, 32, 33, 63, 100}) {
    run_random<__nv_bfloat16>({17, columns, 40}, 2);
  }
  for (int rows : {1, 7, 8, 15, 16, 17, 33, 127, 128, 129, 260}) {
    run_random<__nv_bfloat16>({rows, 40, 36}, 2);
    run_random<__half>({rows, 5, 70}, 3);
  }
}

TEST(collapse_product_in_16_bits) {
  for (int columns : {5, 32, 100}) {
    run_random<__nv_bfloat16, __nv_bfloat16>({17, columns, 40}, 2);
    run_random<__half, __half>({17, columns, 40}, 3);
  }
}

TEST(collapse_product_of_any_number_of_sources) {
  for (size_t sources : {1, 2, 4, 5, 8, 9, 17}) {
    run_random<__nv_bfloat16>({20, 36, 200}, sources);
    run_random<__half>({35, 70, 100}, sources);
  }
}

TEST(collapse_product_of_tensors_aligned_to_an_element) {
  // Misaligned: all tensors, and each kind of tensor alone.
  for (size_t shift : {1, 2, 3, 4}) {
    run_random<__nv_bfloat16>({20, 36, 72, {shift, shift, shift}, shift}, 3);
    run_random<__half>({20, 35, 71, {shift, shift, shift}, shift}, 3);
    run_random<__nv_bfloat16>({20, 36, 72, {0, 0, 0, 0, shift}}, 5);
    run_random<__half>({20, 36, 72, {shift}}, 3);
    run_random<__half>({20, 36, 72, {}, shift}, 2);
  }
}

TEST(collapse_product_mixes_like_mix) {
  const Shape shape{64, 96, 64};
  const auto halves = random_sources<__half>(4, shape);
  const auto bf16s = random_sources<__nv_bfloat16>(4, shape);
  // The last two give sums that are halfway between two values of T, or close to halfway.
  for (const std::vector<double>& coefficients :
       {check::random<double>(4), check::random<double>(4), std::vector<double>{1, 0x1p-9, 0x1p-40, -0x1p-30},
        std::vector<double>{1, 0x1p-12, 0x1p-40, 0x1p-50}}) {
    run_unit(shape, halves, coefficients);
    run_unit(shape, bf16s, coefficients);
  }
  // Sums that are too large for f16, and sums that are subnormal in f16.
  run_unit(shape, halves, {1e5, -1e5, 1e4, 1});
  run_unit(shape, halves, {1e-7, 1e-7, 1e-8, 1e-9});
}

TEST(collapse_product_leaves_out_what_has_no_part) {
  const Shape shape{20, 40, 40};
  auto weights = random_sources<__nv_bfloat16>(5, shape);
  auto x = check::random<__nv_bfloat16>(static_cast<size_t>(shape.rows * shape.in_columns));
  std::vector<double> coefficients = check::random<double>(weights.size());
  for (size_t i = 0; i < weights[1].size(); i++) {
    weights[1][i] = check::narrow<__nv_bfloat16>(i % 3 == 0 ? kNaN : kInfinity);
  }
  coefficients[1] = 0;
  // NaN and infinities in x and in sources with a coefficient must appear in the result.
  x[3 * 40 + 7] = check::narrow<__nv_bfloat16>(kNaN);
  x[4 * 40 + 7] = check::narrow<__nv_bfloat16>(-kInfinity);
  weights[4][38 * 40 + 5] = check::narrow<__nv_bfloat16>(kInfinity);
  run(shape, weights, coefficients, x);
}
