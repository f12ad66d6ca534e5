// adam_w.cu against the step in f64.
#include "adam_w_check.hpp"

namespace {

constexpr size_t kTensors = 5;  // gradient, mean, square, master and weight

// Of what is added to roots: the number of the step, or one from device memory.
enum Damping { kOfStep, kGiven, kNotFinite };

template <class W>
void run(size_t n, const size_t (&shifts)[kTensors] = {}, Damping damping = kOfStep, bool masters = true) {
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
                device_square.data(), masters ? device_master.data() : nullptr, weight.data(), static_cast<int64_t>(n),
                check::kKey, static_cast<const float*>(damping == kOfStep ? nullptr : given.data()), check::kScale,
                check::kBeta1, 1 - check::kBeta1, check::kBeta2, 1 - check::kBeta2, check::kSize, check::kCorrection,
                damping == kOfStep ? epsilon : NAN, check::kDecay);
  for (size_t i = 0; i < n; i++) {
    const std::string what = kernel + ", element " + std::to_string(i) + " of " + std::to_string(n);
    CHECK_CLOSE(check::wide(device_gradient[i]), 0.0, 0, what);
    if (damping == kNotFinite) {
      CHECK_CLOSE(check::wide(device_mean[i]), check::wide(mean[i]), 0, what);
      CHECK_CLOSE(check::wide(device_square[i]), check::wide(square[i]), 0, what);
      CHECK_CLOSE(check::wide(device_master[i]), check::wide(master[i]), 0, what);
      CHECK_CLOSE(check::wide(weight[i]), check::wide(before[i]), 0, what);
      continue;
    }
    const double old_weight = masters ? check::wide(master[i]) : check::wide(before[i]);
    const check::AdamStep step(check::wide(gradient[i]), check::wide(mean[i]), check::wide(square[i]), old_weight,
                               check::wide(epsilon));
    CHECK_CLOSE(check::wide(device_mean[i]), step.mean, 1e-6 * (1 + std::abs(step.mean)), what);
    CHECK_CLOSE(check::wide(device_square[i]), step.square, 1e-6 * step.square, what);
    if (masters) {
      CHECK_CLOSE(check::wide(device_master[i]), step.weight, 1e-6 * (1 + std::abs(step.moved)), what);
      CHECK_CLOSE(check::wide(weight[i]), check::wide(check::narrow<W>(check::wide(device_master[i]))), 0, what);
    } else {
      check::check_rounded(weight[i], step.weight, i, what);
      CHECK_CLOSE(check::wide(device_master[i]), check::wide(master[i]), 0, what);
    }
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
  for (bool masters : {true, false}) {
    for (size_t tensor = 0; tensor < kTensors; tensor++) {
      size_t shifts[kTensors] = {};
      shifts[tensor] = 1;
      run<float>(131, shifts, kOfStep, masters);
      run<__nv_bfloat16>(131, shifts, kOfStep, masters);
    }
  }
}

TEST(adam_w_rounds_weights_without_masters_at_random) {
  for (size_t n : {1, 7, 1025, 3001}) {
    run<float>(n, {}, kOfStep, false);
    run<__half>(n, {}, kOfStep, false);
    run<__nv_bfloat16>(n, {}, kOfStep, false);
  }
}
