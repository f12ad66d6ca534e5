// append_key_values.cu: rows must be copied bit for bit to the rows that are named, and others keep their bits.
#include "check.hpp"

namespace {

// Any bits, those of NaN among them.
std::vector<uint16_t> random_bits(size_t count) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    value = static_cast<uint16_t>(check::random_int(0, 0xffff));
  }
  return values;
}

struct Rows {
  Rows(size_t count, size_t width, size_t shift)
      : width(width), before(random_bits(count * width)), memory(before, shift) {}

  const char* read() { return reinterpret_cast<const char*>(memory.data()); }
  char* write() { return reinterpret_cast<char*>(memory.data()); }

  // Of a row that holds what a row of others held, or what it held itself.
  void must_be(size_t row, const Rows& other, size_t other_row, const std::string& what) {
    CHECK_THAT(std::memcmp(&memory[row * width], &other.before[other_row * width], width * sizeof(uint16_t)) == 0,
               what + ", " + std::to_string(width) + " halves, row " + std::to_string(row));
  }

  size_t width;
  std::vector<uint16_t> before;
  check::Buffer<uint16_t> memory;
};

// Rows of so many times two bytes, which begin so many times two bytes before a page ends.
void run(size_t width, size_t shift_from, size_t shift_to) {
  // Of three sequences, of which the last comes first in the cache.
  const std::vector<int32_t> rows = {9, 4, 5, 6, 0};
  const size_t count = 11;
  Rows new_keys(rows.size(), width, shift_from), new_values(rows.size(), width, shift_to);
  Rows keys(count, width, shift_to), values(count, width, shift_from);
  check::Buffer<int32_t> which(rows);
  check::launch("laco_append_key_values_v1", {static_cast<unsigned>(rows.size()), 2}, 256, 0, new_keys.read(),
                new_values.read(), static_cast<const int32_t*>(which.data()), keys.write(), values.write(),
                static_cast<int64_t>(width * sizeof(uint16_t)));
  std::vector<int> source(count, -1);
  for (size_t t = 0; t < rows.size(); t++) {
    source[static_cast<size_t>(rows[t])] = static_cast<int>(t);
  }
  for (size_t row = 0; row < count; row++) {
    const bool kept = source[row] < 0;
    const size_t from = kept ? row : static_cast<size_t>(source[row]);
    keys.must_be(row, kept ? keys : new_keys, from, "keys");
    values.must_be(row, kept ? values : new_values, from, "values");
  }
}

}  // namespace

TEST(append_key_values_takes_every_width_and_alignment) {
  for (size_t width : {1, 2, 7, 8, 16, 31, 32, 33, 127, 128, 192, 257, 1024, 1026, 2048, 4104, 8192}) {
    for (size_t shift_from = 0; shift_from < 8; shift_from++) {
      for (size_t shift_to = 0; shift_to < 8; shift_to++) {
        run(width, shift_from, shift_to);
      }
    }
  }
}
