// linear_system.cu: differences and products rounded once, diagonals against sums in long double.
#include "check.hpp"

namespace {

void widen(size_t n, bool subtracts, size_t shift_a, size_t shift_b, size_t shift_out) {
  std::vector<float> a = check::random<float>(n), b = check::random<float>(n);
  a[n / 2] = NAN;
  a[n / 3] = INFINITY;
  check::Buffer<float> device_a(a, shift_a), device_b(b, shift_b);
  check::Buffer<double> out(n, shift_out);
  check::launch("laco_widen_difference_f64_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                static_cast<const float*>(device_a.data()),
                static_cast<const float*>(subtracts ? device_b.data() : nullptr), out.data(), static_cast<int64_t>(n));
  for (size_t i = 0; i < n; i++) {
    CHECK_CLOSE(out[i], subtracts ? check::wide(a[i]) - check::wide(b[i]) : check::wide(a[i]), 0,
                std::to_string(n) + ", element " + std::to_string(i));
  }
}

void round(size_t n, size_t shift_x, size_t shift_out) {
  std::vector<double> x(n);
  for (double& value : x) {
    value = std::normal_distribution<double>()(check::generator());
  }
  x[n / 2] = NAN;
  x[n / 3] = 1e300;
  check::Buffer<double> device(x, shift_x);
  check::Buffer<float> out(n, shift_out);
  check::launch("laco_round_f64_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                static_cast<const double*>(device.data()), out.data(), 1.0 / 3, static_cast<int64_t>(n));
  for (size_t i = 0; i < n; i++) {
    CHECK_CLOSE(check::wide(out[i]), check::wide(static_cast<float>(1.0 / 3 * x[i])), 0,
                std::to_string(n) + ", element " + std::to_string(i));
  }
}

void add_to_diagonal(size_t n, double share, double mean, double constant) {
  std::vector<double> a(n * n);
  long double trace = 0;
  for (size_t i = 0; i < a.size(); i++) {
    a[i] = std::normal_distribution<double>()(check::generator());
    trace += i % (n + 1) == 0 ? a[i] : 0;
  }
  check::Buffer<double> device(a);
  check::launch("laco_add_to_diagonal_f64_v1", 1, 256, 0, device.data(), static_cast<int64_t>(n), share, mean, constant);
  for (size_t i = 0; i < a.size(); i++) {
    const long double more = share * a[i] + mean * trace / static_cast<double>(n) + constant;
    CHECK_CLOSE(device[i], i % (n + 1) == 0 ? static_cast<double>(a[i] + more) : a[i], i % (n + 1) == 0 ? 1e-13 : 0,
                "order " + std::to_string(n) + ", element " + std::to_string(i));
  }
}

int32_t check_pivots(size_t n, std::vector<std::pair<size_t, double>> pivots, int32_t found) {
  std::vector<double> a(n * n, NAN);
  for (size_t i = 0; i < n; i++) {
    a[i * (n + 1)] = 1e-300;
  }
  for (const auto& [at, value] : pivots) {
    a[at * (n + 1)] = value;
  }
  check::Buffer<double> device(a);
  check::Buffer<int32_t> info(std::vector<int32_t>{found});
  check::launch("laco_check_pivots_f64_v1", 1, 32, 0, static_cast<const double*>(device.data()), static_cast<int64_t>(n),
                info.data());
  return info[0];
}

}  // namespace

TEST(linear_system_widens_every_length_and_alignment) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      for (bool subtracts : {false, true}) {
        widen(n, subtracts, shift, 0, 0);
        widen(n, subtracts, 0, shift, 0);
        widen(n, subtracts, 0, 0, shift);
      }
    }
  }
}

TEST(linear_system_rounds_every_length_and_alignment) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      round(n, shift, 0);
      round(n, 0, shift);
    }
  }
}

TEST(linear_system_adds_to_the_diagonal_alone) {
  for (size_t n : {1, 7, 32, 33, 255, 256, 257, 600}) {
    add_to_diagonal(n, 0.3, 0.01, 0);
    add_to_diagonal(n, 0, 0, 1);
  }
}

TEST(linear_system_finds_the_first_pivot_that_is_none) {
  for (size_t n : {1, 31, 32, 33, 200}) {
    CHECK(check_pivots(n, {}, 0) == 0);
    CHECK(check_pivots(n, {{n - 1, NAN}}, 0) == static_cast<int32_t>(n));
    CHECK(check_pivots(n, {{0, INFINITY}}, 0) == 1);
    // A pivot that an earlier launch found is kept.
    CHECK(check_pivots(n, {{0, NAN}}, 9) == 9);
  }
  CHECK(check_pivots(200, {{70, NAN}, {166, NAN}, {69, INFINITY}}, 0) == 70);
}
