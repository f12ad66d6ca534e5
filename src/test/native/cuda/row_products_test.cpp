// row_products.cu against sums in f64.
#include "check.hpp"

namespace {

void run(size_t rows, size_t columns, unsigned threads, size_t shift_a = 0, size_t shift_b = 0) {
  std::vector<float> a = check::random<float>(rows * columns);
  const std::vector<float> b = check::random<float>(rows * columns);
  a[columns / 2] = NAN;
  check::Buffer<float> left(a, shift_a), right(b, shift_b), out(rows);
  check::launch("laco_row_products_f32_v1", static_cast<unsigned>(rows), threads, 0,
                static_cast<const float*>(left.data()), static_cast<const float*>(right.data()), out.data(),
                static_cast<int64_t>(columns));
  for (size_t r = 0; r < rows; r++) {
    double sum = 0, magnitude = 0;
    for (size_t i = r * columns; i < (r + 1) * columns; i++) {
      sum += check::wide(a[i]) * check::wide(b[i]);
      magnitude += std::abs(check::wide(a[i]) * check::wide(b[i]));
    }
    CHECK_CLOSE(check::wide(out[r]), sum, 1e-6 * magnitude,
                std::to_string(columns) + " columns, " + std::to_string(threads) + " threads, row " +
                    std::to_string(r));
  }
}

}  // namespace

TEST(row_products_take_every_shape_block_and_alignment) {
  for (size_t columns : {1, 3, 4, 7, 32, 33, 128, 257, 4099}) {
    for (unsigned threads : {32, 256, 512}) {
      run(3, columns, threads);
      run(2, columns, threads, 1, 0);
      run(2, columns, threads, 0, 1);
    }
  }
}
