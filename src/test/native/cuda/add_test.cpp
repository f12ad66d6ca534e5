// add.cu: sums rounded once.
#include "check.hpp"

namespace {

unsigned blocks(size_t n) { return static_cast<unsigned>((n + 1023) / 1024); }

void run_add(size_t n, size_t shift_x, size_t shift_y) {
  std::vector<float> x = check::random<float>(n), y = check::random<float>(n);
  x[n / 2] = INFINITY;
  y[n / 2] = -INFINITY;
  x[n / 3] = -0.0f;
  check::Buffer<float> device(x, shift_x), added(y, shift_y);
  check::launch("laco_add_f32_v1", blocks(n), 256, 0, device.data(), static_cast<const float*>(added.data()),
                static_cast<int64_t>(n));
  for (size_t i = 0; i < n; i++) {
    CHECK_CLOSE(check::wide(device[i]), check::wide(x[i] + y[i]), 0,
                "add " + std::to_string(n) + ", element " + std::to_string(i));
  }
}

// A bias of T; the sums replace x, or go elsewhere in To.
template <class T, class To = float>
void run_bias(size_t rows, size_t columns, size_t shift_x, size_t shift_bias) {
  const std::vector<float> x = check::random<float>(rows * columns);
  const std::vector<T> bias = check::random<T>(columns);
  check::Buffer<float> device(x, shift_x);
  check::Buffer<T> added(bias, shift_bias);
  check::Buffer<To> own(x.size(), shift_bias);
  To* out = own.data();
  if constexpr (sizeof(To) == sizeof(float)) {
    out = device.data();
  }
  const std::string kernel = std::string("laco_add_bias_") + check::type_name<T>() + "_v1";
  check::launch(kernel, blocks(x.size()), 256, 0, static_cast<const float*>(device.data()),
                static_cast<const T*>(added.data()), static_cast<void*>(out), static_cast<int64_t>(x.size()),
                static_cast<int64_t>(columns), check::kCode<To>);
  for (size_t i = 0; i < x.size(); i++) {
    const float expected = x[i] + static_cast<float>(check::wide(bias[i % columns]));
    CHECK_CLOSE(check::wide(out[i]), check::wide(check::narrow<To>(check::wide(expected))), 0,
                kernel + " " + std::to_string(columns) + " columns, element " + std::to_string(i));
  }
}

}  // namespace

TEST(add_takes_every_length_and_alignment) {
  for (size_t n : {1, 7, 31, 32, 33, 127, 257, 1023, 1024, 1025, 5003}) {
    for (size_t shift = 0; shift < 4; shift++) {
      run_add(n, shift, shift);
      run_add(n, shift, 0);
    }
  }
}

TEST(add_bias_takes_every_width_and_alignment) {
  for (size_t columns : {1, 3, 7, 32, 33, 127, 256, 257, 4096}) {
    for (size_t shift = 0; shift < 16; shift++) {
      run_bias<float>(4, columns, shift / 4, shift % 4);
      run_bias<__half>(4, columns, shift / 4, shift % 4);
      run_bias<__nv_bfloat16>(4, columns, shift / 4, shift % 4);
      run_bias<__half, __half>(4, columns, shift / 4, shift % 4);
      run_bias<float, __nv_bfloat16>(4, columns, shift / 4, shift % 4);
    }
  }
}
