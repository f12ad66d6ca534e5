// add_rows.cu: named rows get their sum, others keep their bits.
#include "check.hpp"

namespace {

void run(int columns, size_t shift_x, size_t shift_y) {
  const size_t width = static_cast<size_t>(columns);
  const std::vector<float> x = check::random<float>(6 * width), y = check::random<float>(3 * width);
  const std::vector<int32_t> rows = {1, 2, 5};
  const std::vector<float> factors = {0.5f, -2, 1e-3f};
  check::Buffer<float> to(x, shift_x), from(y, shift_y), scale(factors);
  check::Buffer<int32_t> which(rows);
  check::launch("laco_add_rows_f32_v1", 3, 256, 0, to.data(), static_cast<const float*>(from.data()),
                static_cast<const int32_t*>(which.data()), static_cast<const float*>(scale.data()),
                static_cast<int64_t>(columns));
  std::vector<double> expected(x.begin(), x.end());
  for (size_t i = 0; i < rows.size(); i++) {
    for (size_t c = 0; c < width; c++) {
      expected[static_cast<size_t>(rows[i]) * width + c] += check::wide(factors[i]) * check::wide(y[i * width + c]);
    }
  }
  for (size_t i = 0; i < expected.size(); i++) {
    CHECK_CLOSE(check::wide(to[i]), expected[i], 1e-6, std::to_string(columns) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(add_rows_takes_every_width_and_alignment) {
  for (int columns : {1, 6, 7, 31, 32, 33, 127, 257, 1024, 1028, 5120}) {
    for (size_t shift = 0; shift < 16; shift++) {
      run(columns, shift / 4, shift % 4);
    }
  }
}
