// embed.cu: rows of the table must be widened exactly, multiplied, and rounded once.
#include "check.hpp"

namespace {

template <class T, class To = float>
void run(int columns, size_t shift_table, size_t shift_out, float factor) {
  const int vocabulary = 11;
  const std::vector<T> table = check::random<T>(static_cast<size_t>(vocabulary * columns));
  const std::vector<int32_t> tokens = {3, 7, 10, 10, 0};
  check::Buffer<T> device_table(table, shift_table);
  check::Buffer<int32_t> device_tokens(tokens);
  check::Buffer<To> out(tokens.size() * static_cast<size_t>(columns), shift_out);
  const std::string kernel = std::string("laco_embed_") + check::type_name<T>() + "_v1";
  check::launch(kernel, static_cast<unsigned>(tokens.size()), 256, 0, static_cast<const T*>(device_table.data()),
                static_cast<const int32_t*>(device_tokens.data()), static_cast<void*>(out.data()),
                static_cast<int64_t>(columns), factor, check::kCode<To>);
  for (size_t i = 0; i < out.size(); i++) {
    const size_t row = i / static_cast<size_t>(columns), column = i % static_cast<size_t>(columns);
    const T expected = table[static_cast<size_t>(tokens[row] * columns) + column];
    const To must = check::narrow<To>(check::wide(factor) * check::wide(expected));
    CHECK_CLOSE(check::wide(out[i]), check::wide(must), 0,
                kernel + ", " + std::to_string(columns) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(embed_takes_every_width_and_alignment) {
  for (int columns : {1, 6, 7, 31, 32, 33, 127, 257, 1024, 1028, 5120}) {
    for (size_t shift = 0; shift < 16; shift++) {
      const float factor = shift % 2 == 0 ? 1 : 8;
      run<float>(columns, shift / 4, shift % 4, factor);
      run<__half>(columns, shift / 4, shift % 4, factor);
      run<__nv_bfloat16>(columns, shift / 4, shift % 4, factor);
      run<float, __half>(columns, shift / 4, shift % 4, factor);
      run<float, __nv_bfloat16>(columns, shift / 4, shift % 4, factor);
    }
  }
}
