// multiply.cu: products rounded once.
#include "check.hpp"

namespace {

enum class Out { kOwn, kOverX, kOverY };

void run(size_t n, Out where, size_t shift_x, size_t shift_y, size_t shift_out) {
  std::vector<float> x = check::random<float>(n), y = check::random<float>(n);
  x[n / 2] = INFINITY;
  y[n / 2] = 0;
  x[n / 3] = -0.0f;
  check::Buffer<float> device_x(x, shift_x), device_y(y, shift_y), own(n, shift_out);
  float* out = where == Out::kOwn ? own.data() : where == Out::kOverX ? device_x.data() : device_y.data();
  check::launch("laco_multiply_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                static_cast<const float*>(device_x.data()), static_cast<const float*>(device_y.data()), out,
                static_cast<int64_t>(n));
  for (size_t i = 0; i < n; i++) {
    CHECK_CLOSE(check::wide(out[i]), check::wide(x[i] * y[i]), 0,
                "multiply " + std::to_string(n) + ", element " + std::to_string(i));
  }
}

}  // namespace

TEST(multiply_takes_every_length_alignment_and_place) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      run(n, Out::kOwn, shift, 0, 0);
      run(n, Out::kOwn, 0, shift, 0);
      run(n, Out::kOwn, 0, 0, shift);
      run(n, Out::kOverX, shift, shift, 0);
      run(n, Out::kOverY, shift, shift, 0);
    }
  }
}
