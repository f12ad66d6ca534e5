// adam_w.cu against the step in f64.
#include "adam_w_check.hpp"

namespace {

constexpr size_t kTensors = 5;  // gradient, mean, square, master and weight

// Of what is added to roots: the number of the step, or one from device memory.
enum Damping { kOfStep, kGiven, kNotFinite };

// A tensor that a step moves, as it was before the step and as it is on the device.
template <class W>
struct Moved {
  Damping damping;
  bool masters;
  std::vector<float> gradient, mean, square, master;
  std::vector<W> before;
  check::Buffer<float> device_gradient, device_mean, device_square, device_master, given;
  check::Buffer<W> weight;

  Moved(size_t n, const size_t (&shifts)[kTensors] = {}, Damping how = kOfStep, bool has_masters = true)
      : damping(how),
        masters(has_masters),
        gradient(damaged(check::random<float>(n))),
        mean(check::random<float>(n)),
        square(squared(check::random<float>(n))),
        master(check::random<float>(n)),
        before(check::random<W>(n)),
        device_gradient(gradient, shifts[0]),
        device_mean(mean, shifts[1]),
        device_square(square, shifts[2]),
        device_master(master, shifts[3]),
        given(std::vector<float>{epsilon()}, 1),
        weight(before, shifts[4]) {}

  static std::vector<float> damaged(std::vector<float> values) {
    values[values.size() / 2] = NAN;
    return values;
  }

  static std::vector<float> squared(std::vector<float> values) {
    for (float& value : values) {
      value *= value;
    }
    return values;
  }

  float epsilon() const { return damping == kOfStep ? 1e-8f : damping == kGiven ? 0.5f : INFINITY; }

  check::AdamJob job() {
    return {static_cast<int64_t>(gradient.size()),
            0,
            device_gradient.data(),
            device_mean.data(),
            device_square.data(),
            masters ? device_master.data() : nullptr,
            weight.data(),
            damping == kOfStep ? nullptr : given.data(),
            check::kKey,
            check::numbers(damping == kOfStep ? epsilon() : NAN),
            0};
  }

  void check_step() {
    for (size_t i = 0; i < gradient.size(); i++) {
      const std::string what = std::string("adam_w of ") + check::type_name<W>() + ", element " + std::to_string(i) +
                               " of " + std::to_string(gradient.size());
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
                                 check::wide(epsilon()));
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
};

template <class W>
void launch(std::deque<Moved<W>>& tensors) {
  check::take_step(std::string("laco_adam_w_") + check::type_name<W>() + "_v3", tensors, 4096);
}

template <class W, class... Arguments>
void run(size_t n, const Arguments&... arguments) {
  std::deque<Moved<W>> one;
  one.emplace_back(n, arguments...);
  launch(one);
}

constexpr size_t kAligned[kTensors] = {};

}  // namespace

TEST(adam_w_takes_every_length_and_alignment) {
  for (size_t n : {1, 7, 32, 1023, 1024, 1025, 3001, 4096, 4097, 9001}) {
    run<float>(n);
    run<__half>(n);
    run<__nv_bfloat16>(n);
  }
  for (Damping damping : {kGiven, kNotFinite}) {
    run<float>(1025, kAligned, damping);
    run<__nv_bfloat16>(33, kAligned, damping);
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

TEST(adam_w_takes_many_tensors) {
  for (size_t count : {2, 3, 7, 8, 9}) {
    std::deque<Moved<__nv_bfloat16>> tensors;
    for (size_t i = 0; i < count; i++) {
      const size_t n = i % 3 == 0 ? 5 + i : i % 3 == 1 ? 4096 * (i + 1) : 4095 + i;
      const size_t shifts[kTensors] = {i % 2, 0, 0, 0, i % 4};
      // Of many elements without masters some lie so near zero that f32 tells less of them than rounding does.
      tensors.emplace_back(n, shifts, i % 4 == 3 ? kNotFinite : i % 4 == 2 ? kGiven : kOfStep, i % 3 != 0);
    }
    launch(tensors);
  }
}

TEST(adam_w_rounds_weights_without_masters_at_random) {
  for (size_t n : {1, 7, 1025, 3001}) {
    run<float>(n, kAligned, kOfStep, false);
    run<__half>(n, kAligned, kOfStep, false);
    run<__nv_bfloat16>(n, kAligned, kOfStep, false);
  }
}
