// collapse_product.cu against plain loops: a mix that is rounded to T, then a product in f64.
#include <limits>
#include <memory>

#include "check.hpp"

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Shape {
  int rows, out_columns, in_columns;
  // Elements by which each tensor lies behind an aligned address; tensors beyond the list are aligned.
  std::vector<size_t> weight_shifts = {}, x_shifts = {};

  size_t weight_shift(size_t i) const { return i < weight_shifts.size() ? weight_shifts[i] : 0; }
  size_t x_shift(size_t i) const { return i < x_shifts.size() ? x_shifts[i] : 0; }
};

using Coefficients = std::vector<std::vector<double>>;  // [candidate][source]

Coefficients random_coefficients(size_t candidates, size_t sources) {
  Coefficients coefficients;
  for (size_t c = 0; c < candidates; c++) {
    coefficients.push_back(check::random<double>(sources));
  }
  return coefficients;
}

template <class T>
std::vector<std::vector<T>> random_tensors(size_t count, int rows, int columns) {
  std::vector<std::vector<T>> tensors;
  for (size_t i = 0; i < count; i++) {
    tensors.push_back(check::random<T>(static_cast<size_t>(rows * columns)));
  }
  return tensors;
}

// Tensors in guarded memory, each misaligned by a number of elements, and a table of their addresses.
template <class T>
struct Tensors {
  std::vector<std::unique_ptr<check::Buffer<T>>> tensors;
  std::unique_ptr<check::Buffer<T*>> addresses;

  template <class ShiftOf>
  Tensors(const std::vector<std::vector<T>>& values, ShiftOf shift_of) {
    std::vector<T*> all;
    for (size_t i = 0; i < values.size(); i++) {
      tensors.push_back(std::make_unique<check::Buffer<T>>(values[i], shift_of(i)));
      all.push_back(tensors.back()->data());
    }
    addresses = std::make_unique<check::Buffer<T*>>(all);
  }
};

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

template <class T>
void run(int variant, const Shape& shape, const std::vector<std::vector<T>>& weights,
         const Coefficients& coefficients, const std::vector<std::vector<T>>& x, double tolerance = kSummed) {
  const auto rows = static_cast<size_t>(shape.rows), outs = static_cast<size_t>(shape.out_columns),
             ins = static_cast<size_t>(shape.in_columns);
  Tensors<T> weight_memory(weights, [&](size_t i) { return shape.weight_shift(i); });
  Tensors<T> x_memory(x, [&](size_t i) { return shape.x_shift(i); });
  const float unwritten = std::numeric_limits<float>::quiet_NaN();
  Tensors<float> y(std::vector<std::vector<float>>(x.size(), std::vector<float>(rows * outs, unwritten)),
                   [](size_t i) { return i % 4; });
  std::vector<double> flat;
  for (const auto& of_candidate : coefficients) {
    flat.insert(flat.end(), of_candidate.begin(), of_candidate.end());
  }
  check::Buffer<double> coefficient_memory(flat);
  const std::string kernel = std::string("laco_collapse_product_") + check::type_name<T>() + "_v" +
                             std::to_string(variant);
  check::launch(kernel, dim3((static_cast<unsigned>(outs) + 31) / 32, (static_cast<unsigned>(rows) + 127) / 128),
                dim3(256), variant == 1 ? 139264 : 106496,
                static_cast<const T* const*>(weight_memory.addresses->data()),
                static_cast<const double*>(coefficient_memory.data()),
                static_cast<const T* const*>(x_memory.addresses->data()),
                static_cast<float* const*>(y.addresses->data()), int64_t{shape.rows},
                int64_t{shape.out_columns}, int64_t{shape.in_columns}, static_cast<int32_t>(weights.size()),
                static_cast<int32_t>(x.size()));
  const std::string words = kernel + ", " + std::to_string(shape.rows) + " rows, " + std::to_string(outs) +
                            " x " + std::to_string(ins) + " weights of " + std::to_string(weights.size()) +
                            " sources, " + std::to_string(x.size()) + " candidates";
  for (size_t c = 0; c < x.size(); c++) {
    for (size_t o = 0; o < outs; o++) {
      std::vector<double> weight(ins);
      for (size_t i = 0; i < ins; i++) {
        weight[i] = mixed(weights, coefficients[c], o * ins + i);
      }
      for (size_t r = 0; r < rows; r++) {
        double sum = 0, magnitude = 0;
        for (size_t i = 0; i < ins; i++) {
          const double product = check::wide(x[c][r * ins + i]) * weight[i];
          sum += product;
          magnitude += std::abs(product);
        }
        CHECK_CLOSE(static_cast<double>((*y.tensors[c])[r * outs + o]), sum,
                    std::isfinite(magnitude) ? tolerance * magnitude : 0,
                    words + ", candidate " + std::to_string(c) + ", row " + std::to_string(r) +
                        ", column " + std::to_string(o));
      }
    }
  }
}

template <class T>
void run_random(const Shape& shape, size_t sources, size_t candidates) {
  const auto weights = random_tensors<T>(sources, shape.out_columns, shape.in_columns);
  const auto x = random_tensors<T>(candidates, shape.rows, shape.in_columns);
  const Coefficients coefficients = random_coefficients(candidates, sources);
  run(1, shape, weights, coefficients, x);
  if (candidates == 1) {
    run(2, shape, weights, coefficients, x);
  }
}

// Multiplies by the identity: y is then the mixed weights themselves, which are compared bit for bit.
template <class T>
void run_unit(const Shape& shape, const std::vector<std::vector<T>>& weights, const Coefficients& coefficients) {
  std::vector<T> unit(static_cast<size_t>(shape.rows * shape.in_columns), check::narrow<T>(0));
  for (int r = 0; r < shape.rows; r++) {
    unit[static_cast<size_t>(r * shape.in_columns + r)] = check::narrow<T>(1);
  }
  const std::vector<std::vector<T>> x(coefficients.size(), unit);
  run(1, shape, weights, coefficients, x, 0);
  if (coefficients.size() == 1) {
    run(2, shape, weights, coefficients, x, 0);
  }
}

}  // namespace

TEST(collapse_product_of_every_shape) {
  for (int columns : {1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 40, 64, 95, 130}) {
    run_random<__nv_bfloat16>({18, 33, columns}, 3, 1);
    run_random<__half>({5, 10, columns}, 2, 2);
  }
  for (int columns : {1, 2, 31, 32, 33, 63, 100}) {
    run_random<__nv_bfloat16>({17, columns, 40}, 2, 1);
  }
  for (int rows : {1, 7, 8, 15, 16, 17, 33, 127, 128, 129, 260}) {
    run_random<__nv_bfloat16>({rows, 40, 36}, 2, 1);
    run_random<__half>({rows, 5, 70}, 3, 3);
  }
}

TEST(collapse_product_of_any_number_of_sources_and_candidates) {
  for (size_t sources : {1, 2, 4, 5, 8, 9, 17}) {
    for (size_t candidates : {1, 2, 3, 4}) {
      run_random<__nv_bfloat16>({20, 36, 100}, sources, candidates);
    }
  }
  for (size_t candidates : {5, 6, 7, 9}) {
    run_random<__half>({35, 70, 200}, 5, candidates);
  }
}

TEST(collapse_product_of_tensors_aligned_to_an_element) {
  // Misaligned: all tensors, and each kind of tensor alone.
  for (size_t shift : {1, 2, 3, 4}) {
    run_random<__nv_bfloat16>({20, 36, 72, {shift, shift, shift}, {shift}}, 3, 1);
    run_random<__half>({20, 35, 71, {shift, shift, shift}, {shift, shift, shift, shift}}, 3, 4);
    run_random<__nv_bfloat16>({20, 36, 72, {0, 0, 0, 0, shift}, {}}, 5, 1);
    run_random<__half>({20, 36, 72, {shift}, {}}, 3, 3);
    run_random<__half>({20, 36, 72, {}, {0, 0, shift}}, 2, 3);
    run_random<__half>({20, 36, 72, {}, {0, 0, 0, 0, shift}}, 2, 5);
    run_random<__nv_bfloat16>({20, 36, 72, {}, {shift}}, 2, 1);
  }
}

TEST(collapse_product_mixes_like_mix) {
  const Shape shape{64, 96, 64};
  const auto halves = random_tensors<__half>(4, shape.out_columns, shape.in_columns);
  const auto bf16s = random_tensors<__nv_bfloat16>(4, shape.out_columns, shape.in_columns);
  // Sums that are halfway between two values of T, or close to halfway.
  const Coefficients close = {{1, 0x1p-9, 0x1p-40, -0x1p-30}, {1, 0x1p-12, 0x1p-40, 0x1p-50}};
  for (const Coefficients& coefficients : {random_coefficients(1, 4), random_coefficients(4, 4), close}) {
    run_unit(shape, halves, coefficients);
    run_unit(shape, bf16s, coefficients);
  }
  // Sums that are too large for f16, and sums that are subnormal in f16.
  run_unit(shape, halves, {{1e5, -1e5, 1e4, 1}, {1e-7, 1e-7, 1e-8, 1e-9}});
}

TEST(collapse_product_leaves_out_what_has_no_part) {
  const Shape shape{20, 40, 40};
  for (size_t candidates : {1, 3}) {
    auto weights = random_tensors<__nv_bfloat16>(5, shape.out_columns, shape.in_columns);
    auto x = random_tensors<__nv_bfloat16>(candidates, shape.rows, shape.in_columns);
    Coefficients coefficients = random_coefficients(candidates, weights.size());
    for (size_t i = 0; i < weights[1].size(); i++) {
      weights[1][i] = check::narrow<__nv_bfloat16>(i % 3 == 0 ? kNaN : kInfinity);
    }
    for (auto& of_candidate : coefficients) {
      of_candidate[1] = 0;
    }
    // NaN and infinities in x and in sources with a coefficient must appear in the result.
    x[0][3 * 40 + 7] = check::narrow<__nv_bfloat16>(kNaN);
    x[0][4 * 40 + 7] = check::narrow<__nv_bfloat16>(-kInfinity);
    weights[4][38 * 40 + 5] = check::narrow<__nv_bfloat16>(kInfinity);
    run(1, shape, weights, coefficients, x);
    if (candidates == 1) {
      run(2, shape, weights, coefficients, x);
    }
  }
}
