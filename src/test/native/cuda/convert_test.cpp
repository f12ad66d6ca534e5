// convert.cu against conversions on the host, bit for bit.
#include <bit>

#include "check.hpp"

namespace {

unsigned blocks(size_t n) { return static_cast<unsigned>((n + 2047) / 2048); }

template <class From, class To>
void run(const std::string& kernel, const std::vector<From>& from, size_t shift_from, size_t shift_to) {
  const size_t n = from.size();
  check::Buffer<From> in(from, shift_from);
  check::Buffer<To> out(n, shift_to);
  check::launch(kernel, blocks(n), 256, 0, static_cast<const From*>(in.data()), out.data(),
                static_cast<int64_t>(n));
  for (size_t i = 0; i < n; i++) {
    const double expected = check::wide(check::narrow<To>(check::wide(from[i])));
    const double actual = check::wide(out[i]);
    CHECK_CLOSE(actual, expected, 0, kernel + " " + std::to_string(n) + ", element " + std::to_string(i));
    CHECK(std::isnan(expected) || std::signbit(actual) == std::signbit(expected));
  }
}

template <class T>
void run(const std::vector<T>& narrow, const std::vector<float>& wide, size_t shift_narrow, size_t shift_wide) {
  const std::string type = check::type_name<T>();
  run<T, float>("laco_widen_" + type + "_v1", narrow, shift_narrow, shift_wide);
  run<float, T>("laco_narrow_" + type + "_v1", wide, shift_wide, shift_narrow);
}

// Every value of the 16-bit type.
template <class T>
std::vector<T> all() {
  std::vector<T> result;
  for (unsigned bits = 0; bits < 0x10000; bits++) {
    result.push_back(T{static_cast<uint16_t>(bits)});
  }
  return result;
}

// Every third upper half of an f32, with lower halves near the places where rounding to bf16 and f16 changes.
std::vector<float> hard() {
  std::vector<float> result;
  for (unsigned high = 0; high < 0x10000; high += 3) {
    for (unsigned low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xf000u, 0xffffu}) {
      result.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return result;
}

}  // namespace

TEST(convert_takes_every_length_and_alignment) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 2047, 2048, 2049, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      run(check::random<__half>(n), check::random<float>(n), shift, 0);
      run(check::random<__nv_bfloat16>(n), check::random<float>(n), 0, shift);
    }
  }
}

TEST(convert_rounds_to_nearest_even_everywhere) {
  run(all<__half>(), hard(), 0, 0);
  run(all<__nv_bfloat16>(), hard(), 0, 0);
}
