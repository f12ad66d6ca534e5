// gather_columns.cu: elements must be copied bit for bit, and nothing else written.
#include "check.hpp"

namespace {

template <class T>
void run(int width, int count, int gap, size_t shift_from, size_t shift_out) {
  const size_t rows = 3;
  const size_t out_width = static_cast<size_t>(count + gap);
  const std::vector<T> table = check::random<T>(rows * static_cast<size_t>(width));
  std::vector<int32_t> columns;
  for (int i = 0; i < count; i++) {
    columns.push_back(check::random_int(0, width - 1));
  }
  const std::vector<T> before = check::random<T>(rows * out_width);
  check::Buffer<T> from(table, shift_from), out(before, shift_out);
  check::Buffer<int32_t> numbers(columns);
  const std::string kernel = std::string("laco_gather_columns_") + check::type_name<T>() + "_v1";
  check::launch(kernel, static_cast<unsigned>(rows), 256, 0, static_cast<const T*>(from.data()),
                static_cast<const int32_t*>(numbers.data()), out.data() + gap, static_cast<int64_t>(count),
                static_cast<int64_t>(width), static_cast<int64_t>(out_width));
  for (size_t i = 0; i < before.size(); i++) {
    const size_t row = i / out_width, column = i % out_width;
    const bool kept = column < static_cast<size_t>(gap);
    const size_t number = kept ? 0 : static_cast<size_t>(columns[column - static_cast<size_t>(gap)]);
    const T expected = kept ? before[i] : table[row * static_cast<size_t>(width) + number];
    CHECK_THAT(std::memcmp(&out[i], &expected, sizeof(T)) == 0,
               kernel + ", " + std::to_string(count) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(gather_columns_takes_every_width_place_and_alignment) {
  for (int count : {1, 2, 31, 33, 255, 257, 1500}) {
    for (size_t shift = 0; shift < 4; shift++) {
      run<float>(7, count, 0, shift, 0);
      run<__half>(300, count, 5, 0, shift);
      run<__nv_bfloat16>(1001, count, 2, shift, 1);
    }
  }
}
