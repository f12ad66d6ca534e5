// distillation.cu against the loss and its gradient in f64.
#include <algorithm>

#include "check.hpp"

namespace {

struct Case {
  size_t columns;
  float label_share = 0.25f;
  float soft_cap = 0;
  bool factors = false;
  size_t shifts[3] = {};  // of logits, reference and factors
};

double log_sum(const std::vector<float>& logits, size_t start, size_t columns) {
  double most = -INFINITY, sum = 0;
  for (size_t i = start; i < start + columns; i++) {
    most = std::max(most, check::wide(logits[i]));
  }
  for (size_t i = start; i < start + columns; i++) {
    sum += std::exp(check::wide(logits[i]) - most);
  }
  return most + std::log(sum);
}

void run(const Case& c) {
  const std::vector<int32_t> targets = {static_cast<int32_t>(c.columns) - 1, -1, 0};
  const size_t rows = targets.size();
  const float scale = 0.5f;
  std::vector<float> logits = check::random<float>(rows * c.columns, 3);
  std::vector<float> reference = check::random<float>(rows * c.columns, 3);
  std::copy_n(reference.begin() + static_cast<int64_t>(c.columns), c.columns,
              logits.begin() + static_cast<int64_t>(c.columns));
  const std::vector<float> factors = check::random<float>(c.columns);
  check::Buffer<float> h(logits, c.shifts[0]), r(reference, c.shifts[1]), device_factors(factors, c.shifts[2]);
  check::Buffer<int32_t> device_targets(targets);
  check::Buffer<double> state(5 * rows), losses(rows);
  const auto grid = static_cast<unsigned>(rows);
  check::launch("laco_kl_divergence_f32_v1", grid, 256, 0, static_cast<const float*>(h.data()),
                static_cast<const float*>(r.data()), state.data(), static_cast<int64_t>(c.columns), int64_t{0});
  check::launch("laco_distillation_f32_v1", grid, 256, 0, h.data(), static_cast<const float*>(r.data()),
                static_cast<const double*>(state.data()), static_cast<const int32_t*>(device_targets.data()),
                c.factors ? static_cast<const float*>(device_factors.data()) : nullptr, losses.data(),
                static_cast<int64_t>(c.columns), c.label_share, scale, c.soft_cap);
  for (size_t row = 0; row < rows; row++) {
    const size_t start = row * c.columns;
    const double shift = log_sum(logits, start, c.columns), wanted_shift = log_sum(reference, start, c.columns);
    const double labels = targets[row] < 0 ? 0 : check::wide(c.label_share);
    const double divergences = 1 - check::wide(c.label_share);
    double loss = labels == 0 ? 0 : labels * (shift - check::wide(logits[start + static_cast<size_t>(targets[row])]));
    for (size_t i = 0; i < c.columns; i++) {
      const double y = check::wide(logits[start + i]), wanted_y = check::wide(reference[start + i]);
      const double share = std::exp(y - shift), wanted = std::exp(wanted_y - wanted_shift);
      loss += divergences * wanted * (wanted_y - wanted_shift - (y - shift));
      const double capped = c.soft_cap == 0 ? 0 : y / check::wide(c.soft_cap);
      const double slope = check::wide(scale) * (c.factors ? check::wide(factors[i]) : 1) * (1 - capped * capped);
      const double label = static_cast<int32_t>(i) == targets[row] ? 1 : 0;
      CHECK_CLOSE(check::wide(h[start + i]), (divergences * (share - wanted) + labels * (share - label)) * slope,
                  2e-6 * std::abs(slope), std::to_string(c.columns) + " columns, column " + std::to_string(i));
    }
    CHECK_CLOSE(losses[row], loss, 1e-5, std::to_string(c.columns) + " columns, row " + std::to_string(row));
    CHECK(losses[row] >= 0);
  }
}

}  // namespace

TEST(distillation_takes_every_vocabulary_and_alignment) {
  for (size_t columns : {1, 7, 32, 127, 1024, 1025, 5000}) {
    run({columns});
    run({columns, 0.0f});
    run({columns, 1.0f, 30.0f, true});
  }
  for (size_t tensor = 0; tensor < 3; tensor++) {
    Case c{136, 0.5f, 0, true};
    c.shifts[tensor] = 1;
    run(c);
  }
}
