// logits.cu: scale, factors of columns and soft-cap against the definition in f64.
#include "check.hpp"

namespace {

void run(size_t n, size_t columns, float scale, float soft_cap, size_t shift) {
  std::vector<float> x = check::random<float>(n);
  x[n / 2] = INFINITY;
  x[n / 3] = n > 3 ? NAN : x[n / 3];
  const std::vector<float> own = check::random<float>(columns);
  check::Buffer<float> device(x, shift), factors(own, shift);
  check::launch("laco_logits_f32_v2", static_cast<unsigned>((n + 1023) / 1024), 256, 0, device.data(),
                static_cast<const float*>(columns > 0 ? factors.data() : nullptr), static_cast<int64_t>(n),
                static_cast<int64_t>(columns), scale, soft_cap);
  for (size_t i = 0; i < n; i++) {
    const double factor = check::wide(scale) * (columns > 0 ? check::wide(own[i % columns]) : 1);
    const double scaled = factor * check::wide(x[i]);
    const double cap = check::wide(soft_cap);
    const double expected = cap == 0 ? scaled : cap * std::tanh(scaled / cap);
    CHECK_CLOSE(check::wide(device[i]), expected, 1e-6 * std::abs(expected),
                "logits " + std::to_string(n) + ", element " + std::to_string(i));
  }
}

}  // namespace

TEST(logits_take_every_length_and_alignment) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      run(n, 0, 1, 0, shift);
      run(n, 0, 0.125f, 0, shift);
      run(n, 0, 2, 3, shift);
      run(n, 0, 1, 0.5f, shift);
      run(n, n, 2, 3, shift);
    }
  }
}

TEST(logits_take_a_factor_for_each_column) {
  for (size_t columns : {1, 3, 4, 33, 64, 1024}) {
    for (size_t shift : {0, 1}) {
      run(5 * columns, columns, 0.125f, 0, shift);
    }
  }
}
