// logits.cu: scale and soft-cap against the definition in f64.
#include "check.hpp"

namespace {

void run(size_t n, float scale, float soft_cap, size_t shift) {
  std::vector<float> x = check::random<float>(n);
  x[n / 2] = INFINITY;
  x[n / 3] = n > 3 ? NAN : x[n / 3];
  check::Buffer<float> device(x, shift);
  check::launch("laco_logits_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0, device.data(),
                static_cast<int64_t>(n), scale, soft_cap);
  for (size_t i = 0; i < n; i++) {
    const double scaled = check::wide(scale) * check::wide(x[i]);
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
      run(n, 1, 0, shift);
      run(n, 0.125f, 0, shift);
      run(n, 2, 3, shift);
      run(n, 1, 0.5f, shift);
    }
  }
}
