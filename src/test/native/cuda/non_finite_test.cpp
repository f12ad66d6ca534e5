// non_finite.cu: every NaN and infinity must be found, wherever it stands, and no finite number be taken for one.
#include "check.hpp"

namespace {

template <class T>
bool found(const std::vector<T>& values, size_t shift) {
  check::Buffer<T> x(values, shift);
  check::Buffer<int32_t> flag(std::vector<int32_t>{0});
  const size_t blocks = (values.size() * sizeof(T) + 16383) / 16384;
  check::launch(std::string("laco_non_finite_") + check::type_name<T>() + "_v1", static_cast<unsigned>(blocks), 256, 0,
                static_cast<const T*>(x.data()), static_cast<int64_t>(values.size()), flag.data());
  CHECK(flag[0] == 0 || flag[0] == 1);
  return flag[0] == 1;
}

template <class T>
T from_bits(uint32_t bits) {
  T value;
  if constexpr (sizeof(T) == 4) {
    std::memcpy(&value, &bits, sizeof(T));
  } else {
    const uint16_t low = static_cast<uint16_t>(bits);
    std::memcpy(&value, &low, sizeof(T));
  }
  return value;
}

template <class T>
void run(size_t count, uint32_t infinity, size_t shift) {
  const uint32_t sign = sizeof(T) == 4 ? 0x80000000u : 0x8000u;
  const std::vector<uint32_t> finite = {0, sign, 1, sign | 1, infinity - 1, sign | (infinity - 1), infinity >> 1};
  std::vector<T> values = check::random<T>(count);
  for (size_t i = 0; i < count; i += 3) {
    values[i] = from_bits<T>(finite[i / 3 % finite.size()]);
  }
  const std::string what = std::string(check::type_name<T>()) + ", " + std::to_string(count) + " elements";
  CHECK_THAT(!found(values, shift), what);
  const std::vector<uint32_t> others = {infinity, sign | infinity, infinity + 1, sign | infinity | (infinity >> 1), ~0u};
  for (size_t i = 0; i < 8; i++) {
    const size_t at = i == 0 ? 0 : i == 1 ? count - 1 : static_cast<size_t>(check::random_int(0, static_cast<int>(count) - 1));
    const T before = values[at];
    values[at] = from_bits<T>(others[i % others.size()]);
    CHECK_THAT(found(values, shift), what + ", at " + std::to_string(at));
    values[at] = before;
  }
}

}  // namespace

TEST(non_finite_finds_every_kind_at_every_place) {
  for (size_t count : {1u, 2u, 3u, 7u, 8u, 9u, 257u, 4095u, 4097u, 8191u, 8192u, 8193u, 20001u}) {
    for (size_t shift : {0u, 1u, 2u, 3u, 4u}) {
      run<float>(count, 0x7f800000, shift);
      run<__half>(count, 0x7c00, shift);
      run<__nv_bfloat16>(count, 0x7f80, shift);
    }
  }
}
