// column_sums.cu against sums in f64.
#include <algorithm>

#include "check.hpp"

namespace {

void add_squares(size_t rows, size_t columns) {
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

// A row of sums for every `part` rows, or all of them added to what was there.
void column_sums(size_t rows, size_t columns, size_t part, bool adds) {
  std::vector<float> x = check::random<float>(rows * columns);
  x[columns / 2] = NAN;
  const size_t parts = (rows + part - 1) / part;
  const std::vector<float> before = check::random<float>(parts * columns);
  check::Buffer<float> device(x), out(before);
  check::launch("laco_column_sums_f32_v1",
                dim3(static_cast<unsigned>((columns + 31) / 32), static_cast<unsigned>(parts)), 256, 0,
                static_cast<const float*>(device.data()), out.data(), static_cast<int64_t>(rows),
                static_cast<int64_t>(columns), static_cast<int64_t>(part), int32_t{adds});
  for (size_t p = 0; p < parts; p++) {
    for (size_t c = 0; c < columns; c++) {
      const size_t at = p * columns + c;
      double sum = adds ? check::wide(before[at]) : 0, magnitude = 1;
      for (size_t r = p * part; r < std::min(rows, (p + 1) * part); r++) {
        sum += check::wide(x[r * columns + c]);
        magnitude += std::abs(check::wide(x[r * columns + c]));
      }
      CHECK_CLOSE(check::wide(out[at]), sum, 1e-6 * magnitude,
                  std::to_string(rows) + " rows in parts of " + std::to_string(part) + ", column " +
                      std::to_string(c) + " of " + std::to_string(columns));
    }
  }
}

}  // namespace

TEST(add_squares_takes_every_shape) {
  for (size_t rows : {1, 7, 8, 9, 127, 128, 129, 300}) {
    for (size_t columns : {1, 31, 32, 33, 127, 257}) {
      add_squares(rows, columns);
    }
  }
}

TEST(column_sums_take_every_shape_and_part) {
  for (size_t rows : {1, 8, 129, 300}) {
    for (size_t columns : {1, 31, 33, 257}) {
      column_sums(rows, columns, rows, true);
      column_sums(rows, columns, 100, false);
    }
  }
}
