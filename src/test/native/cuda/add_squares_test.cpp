// add_squares.cu against sums in f64.
#include "check.hpp"

namespace {

void run(size_t rows, size_t columns) {
  std::vector<float> x = check::random<float>(rows * columns), sums = check::random<float>(columns);
  x[columns / 2] = NAN;
  check::Buffer<float> device(x), out(sums);
  check::launch("laco_add_squares_f32_v1", static_cast<unsigned>((columns + 31) / 32), 256, 0,
                static_cast<const float*>(device.data()), out.data(), static_cast<int64_t>(rows),
                static_cast<int64_t>(columns));
  for (size_t c = 0; c < columns; c++) {
    double squares = 0;
    for (size_t r = 0; r < rows; r++) {
      squares += check::wide(x[r * columns + c]) * check::wide(x[r * columns + c]);
    }
    CHECK_CLOSE(check::wide(out[c]), squares + check::wide(sums[c]), 1e-6 * (1 + squares),
                std::to_string(rows) + " rows, " + std::to_string(columns) + " columns, column " +
                    std::to_string(c));
  }
}

}  // namespace

TEST(add_squares_takes_every_shape) {
  for (size_t rows : {1, 7, 8, 9, 127, 128, 129, 300}) {
    for (size_t columns : {1, 31, 32, 33, 127, 257}) {
      run(rows, columns);
    }
  }
}
