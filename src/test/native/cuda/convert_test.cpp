// convert.cu against conversions on the host, bit for bit.
#include <bit>
#include <deque>

#include "check.hpp"

namespace {

unsigned blocks(size_t n) { return static_cast<unsigned>((n + 2047) / 2048); }

template <class From, class To>
void check_converted(const std::string& kernel, const std::vector<From>& from, check::Buffer<To>& out) {
  const size_t n = from.size();
  for (size_t i = 0; i < n; i++) {
    const double expected = check::wide(check::narrow<To>(check::wide(from[i])));
    const double actual = check::wide(out[i]);
    CHECK_CLOSE(actual, expected, 0, kernel + " " + std::to_string(n) + ", element " + std::to_string(i));
    CHECK(std::isnan(expected) || std::signbit(actual) == std::signbit(expected));
  }
}

template <class T>
void widen(const std::vector<T>& from, size_t shift_from, size_t shift_to) {
  check::Buffer<T> in(from, shift_from);
  check::Buffer<float> out(from.size(), shift_to);
  const std::string kernel = std::string("laco_widen_") + check::type_name<T>() + "_v1";
  check::launch(kernel, blocks(from.size()), 256, 0, static_cast<const T*>(in.data()), out.data(),
                static_cast<int64_t>(from.size()));
  check_converted(kernel, from, out);
}

// Narrows up to four tensors in a launch.
template <class T>
void narrow(const std::vector<std::vector<float>>& from, size_t shift_from, size_t shift_to) {
  std::deque<check::Buffer<float>> ins;
  std::deque<check::Buffer<T>> outs;
  const float* in[4] = {};
  T* out[4] = {};
  int64_t n[4] = {};
  size_t most = 0;
  for (size_t i = 0; i < from.size(); i++) {
    ins.emplace_back(from[i], shift_from);
    outs.emplace_back(from[i].size(), shift_to);
    in[i] = ins[i].data();
    out[i] = outs[i].data();
    n[i] = static_cast<int64_t>(from[i].size());
    most = std::max(most, from[i].size());
  }
  const std::string kernel = std::string("laco_narrow_") + check::type_name<T>() + "_v2";
  check::launch(kernel, dim3(blocks(most), static_cast<unsigned>(from.size())), 256, 0, in[0], in[1], in[2],
                in[3], out[0], out[1], out[2], out[3], n[0], n[1], n[2], n[3]);
  for (size_t i = 0; i < from.size(); i++) {
    check_converted(kernel, from[i], outs[i]);
  }
}

template <class T>
void run(const std::vector<T>& of_16_bits, const std::vector<float>& wide, size_t shift_narrow, size_t shift_wide) {
  widen(of_16_bits, shift_narrow, shift_wide);
  narrow<T>({wide}, shift_wide, shift_narrow);
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

TEST(convert_narrows_up_to_four_tensors) {
  for (size_t count = 1; count <= 4; count++) {
    std::vector<std::vector<float>> tensors;
    for (size_t i = 0; i < count; i++) {
      tensors.push_back(check::random<float>(i % 2 == 0 ? 5000 + i : 33 * i));
    }
    narrow<__half>(tensors, 0, 1);
    narrow<__nv_bfloat16>(tensors, 1, 0);
  }
}

TEST(convert_rounds_to_nearest_even_everywhere) {
  run(all<__half>(), hard(), 0, 0);
  run(all<__nv_bfloat16>(), hard(), 0, 0);
}
