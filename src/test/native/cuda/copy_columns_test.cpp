// copy_columns.cu: columns must be copied to every row of theirs, zeros written behind them, and nothing else.
#include "check.hpp"

namespace {

template <class T>
void run(int count, int before, int rest, int copies, size_t shift_from, size_t shift_out) {
  const size_t rows = 3;
  const size_t x_width = static_cast<size_t>(before + count);
  const size_t out_width = static_cast<size_t>(before + count + rest);
  const size_t out_rows = rows * static_cast<size_t>(copies);
  const std::vector<float> table = check::random<float>(rows * x_width);
  const std::vector<T> old = check::random<T>(out_rows * out_width);
  check::Buffer<float> from(table, shift_from);
  check::Buffer<T> out(old, shift_out);
  const int64_t span = count + rest;
  const int64_t n = static_cast<int64_t>(out_rows) * span;
  check::launch("laco_copy_columns_f32_v1", static_cast<unsigned>((n + 1023) / 1024), 256, 0,
                static_cast<const float*>(from.data()) + before, static_cast<void*>(out.data() + before), n, span,
                static_cast<int64_t>(count), static_cast<int64_t>(copies), static_cast<int64_t>(x_width),
                static_cast<int64_t>(out_width), check::kCode<T>);
  for (size_t i = 0; i < old.size(); i++) {
    const size_t row = i / out_width, column = i % out_width;
    T expected = old[i];
    if (column >= static_cast<size_t>(before)) {
      expected = check::narrow<T>(column < x_width ? check::wide(table[row / static_cast<size_t>(copies) * x_width + column]) : 0);
    }
    CHECK_THAT(std::memcmp(&out[i], &expected, sizeof(T)) == 0,
               std::to_string(count) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(copy_columns_takes_every_width_place_and_alignment) {
  for (int count : {1, 4, 31, 32, 33, 128, 1500}) {
    for (size_t shift = 0; shift < 2; shift++) {
      run<float>(count, 0, 0, 1, shift, 0);
      run<float>(count, 4, 8, 5, 0, shift);
      run<__half>(count, 3, 2, 2, 0, shift);
      run<__nv_bfloat16>(count, 4, 4, 3, shift, 1);
    }
  }
}
