// adam_w.cu against the step in f64.
#include "check.hpp"

namespace {

constexpr size_t kTensors = 5;  // gradient, mean, square, master and weight

// Of what is added to roots: the number of the step, or one from device memory.
enum Damping { kOfStep, kGiven, kNotFinite };

template <class W>
void run(size_t n, const size_t (&shifts)[kTensors] = {}, Damping damping = kOfStep) {
  const float scale = 0.5f, beta1 = 0.9f, beta2 = 0.999f, size = 0.02f, correction = 3, decay = 1e-3f;
  const float epsilon = damping == kOfStep ? 1e-8f : damping == kGiven ? 0.5f : INFINITY;
  std::vector<float> gradient = check::random<float>(n), mean = check::random<float>(n);
  std::vector<float> square = check::random<float>(n), master = check::random<float>(n);
  for (float& value : square) {
    value *= value;
  }
  gradient[n / 2] = NAN;
  check::Buffer<float> device_gradient(gradient, shifts[0]), device_mean(mean, shifts[1]);
  check::Buffer<float> device_square(square, shifts[2]), device_master(master, shifts[3]);
  const std::vector<W> before = check::random<W>(n);
  check::Buffer<W> weight(before, shifts[4]);
  const std::string kernel = std::string("laco_adam_w_") + check::type_name<W>() + "_v2";
  check::Buffer<float> given(std::vector<float>{epsilon}, 1);
  check::launch(kernel, static_cast<unsigned>((n + 1023) / 1024), 256, 0, device_gradient.data(), device_mean.data(),
                device_square.data(), device_master.data(), weight.data(), static_cast<int64_t>(n),
                static_cast<const float*>(damping == kOfStep ? nullptr : given.data()), scale, beta1, 1 - beta1, beta2,
                1 - beta2, size, correction, damping == kOfStep ? epsilon : NAN, decay);
  for (size_t i = 0; i < n; i++) {
    const std::string what = kernel + ", element " + std::to_string(i) + " of " + std::to_string(n);
    if (damping == kNotFinite) {
      CHECK_CLOSE(check::wide(device_gradient[i]), 0.0, 0, what);
      CHECK_CLOSE(check::wide(device_mean[i]), check::wide(mean[i]), 0, what);
      CHECK_CLOSE(check::wide(device_square[i]), check::wide(square[i]), 0, what);
      CHECK_CLOSE(check::wide(device_master[i]), check::wide(master[i]), 0, what);
      CHECK_CLOSE(check::wide(weight[i]), check::wide(before[i]), 0, what);
      continue;
    }
    const double g = check::wide(scale) * check::wide(gradient[i]);
    const double m = check::wide(beta1) * check::wide(mean[i]) + check::wide(1 - beta1) * g;
    const double s = check::wide(beta2) * check::wide(square[i]) + check::wide(1 - beta2) * g * g;
    const double moved = check::wide(size) * m / (std::sqrt(s) * check::wide(correction) + check::wide(epsilon));
    const double w = check::wide(master[i]) * (1 - check::wide(decay)) - moved;
    CHECK_CLOSE(check::wide(device_gradient[i]), 0.0, 0, what);
    CHECK_CLOSE(check::wide(device_mean[i]), m, 1e-6 * (1 + std::abs(m)), what);
    CHECK_CLOSE(check::wide(device_square[i]), s, 1e-6 * s, what);
    CHECK_CLOSE(check::wide(device_master[i]), w, 1e-6 * (1 + std::abs(moved)), what);
    CHECK_CLOSE(check::wide(weight[i]), check::wide(check::narrow<W>(check::wide(device_master[i]))), 0, what);
  }
}

}  // namespace

TEST(adam_w_takes_every_length_and_alignment) {
  for (size_t n : {1, 7, 32, 1023, 1024, 1025, 3001}) {
    run<float>(n);
    run<__half>(n);
    run<__nv_bfloat16>(n);
  }
  for (Damping damping : {kGiven, kNotFinite}) {
    run<float>(1025, {}, damping);
    run<__nv_bfloat16>(33, {}, damping);
  }
  for (size_t tensor = 0; tensor < kTensors; tensor++) {
    size_t shifts[kTensors] = {};
    shifts[tensor] = 1;
    run<float>(131, shifts);
    run<__nv_bfloat16>(131, shifts);
  }
}
