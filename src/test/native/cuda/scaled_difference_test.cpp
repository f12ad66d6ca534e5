// scaled_difference.cu: a difference and a product, each rounded once.
#include "check.hpp"

namespace {

enum class Out { kOwn, kOverA, kOverB };

void run(size_t rows, size_t columns, bool subtracts, Out place, size_t shift_a, size_t shift_b) {
  const std::vector<float> a = check::random<float>(rows * columns), scale = check::random<float>(rows);
  std::vector<float> b = check::random<float>(rows * columns);
  b[b.size() / 2] = INFINITY;
  check::Buffer<float> device_a(a, shift_a), device_b(b, shift_b), device_scale(scale), own(a.size(), shift_b);
  float* out = place == Out::kOwn ? own.data() : place == Out::kOverA ? device_a.data() : device_b.data();
  check::launch("laco_scaled_difference_f32_v1", static_cast<unsigned>((a.size() + 1023) / 1024), 256, 0,
                static_cast<const float*>(device_a.data()),
                static_cast<const float*>(subtracts ? device_b.data() : nullptr),
                static_cast<const float*>(device_scale.data()), out, static_cast<int64_t>(a.size()),
                static_cast<int64_t>(columns));
  for (size_t i = 0; i < a.size(); i++) {
    const float difference = subtracts ? a[i] - b[i] : a[i];
    CHECK_CLOSE(check::wide(out[i]), check::wide(difference * scale[i / columns]), 0,
                std::to_string(columns) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(scaled_difference_takes_every_width_alignment_and_place) {
  for (size_t columns : {1, 3, 7, 32, 33, 127, 256, 257, 1030}) {
    for (size_t shift = 0; shift < 4; shift++) {
      for (Out place : {Out::kOwn, Out::kOverA, Out::kOverB}) {
        run(3, columns, true, place, shift, 0);
        run(3, columns, true, place, 0, shift);
      }
      run(3, columns, false, Out::kOwn, shift, 0);
      run(3, columns, false, Out::kOverA, shift, 0);
    }
  }
}
