// log_probability.cu against the definition in f64, panel by panel.
#include <algorithm>
#include <limits>

#include "check.hpp"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Runs the kernel over the whole vocabulary, in panels of `panel` entries.
void run(const std::vector<std::vector<float>>& logits, const std::vector<int32_t>& targets, size_t panel,
         size_t shift = 0) {
  const size_t rows = logits.size(), vocabulary = logits[0].size();
  check::Buffer<int32_t> device_targets(targets);
  // The buffers begin as NaN: a result that the kernel does not initialise is NaN.
  check::Buffer<double> total(rows);
  check::Buffer<float> most(rows), target(rows);
  for (size_t first = 0; first < vocabulary; first += panel) {
    const size_t columns = std::min(panel, vocabulary - first);
    std::vector<float> part;
    for (const auto& row : logits) {
      part.insert(part.end(), row.begin() + static_cast<int64_t>(first),
                  row.begin() + static_cast<int64_t>(first + columns));
    }
    check::Buffer<float> device(part, shift);
    check::launch("laco_log_probability_f32_v1", static_cast<unsigned>(rows), 256, 0,
                  static_cast<const float*>(device.data()), static_cast<const int32_t*>(device_targets.data()),
                  total.data(), most.data(), target.data(), static_cast<int64_t>(columns),
                  static_cast<int64_t>(first));
  }
  for (size_t r = 0; r < rows; r++) {
    const std::string what = "row " + std::to_string(r) + ", " + std::to_string(vocabulary) + " in panels of " +
                             std::to_string(panel);
    if (targets[r] < 0) {
      CHECK_THAT(std::isnan(total[r]) && std::isnan(most[r]) && std::isnan(target[r]), what);
      continue;
    }
    const double largest = check::wide(*std::max_element(logits[r].begin(), logits[r].end()));
    double sum = 0;
    for (float logit : logits[r]) {
      sum += std::exp(check::wide(logit) - largest);
    }
    const double expected = check::wide(logits[r][static_cast<size_t>(targets[r])]) - largest - std::log(sum);
    const double actual = check::wide(target[r]) - check::wide(most[r]) - std::log(total[r]);
    CHECK_CLOSE(actual, expected, 1e-6 * (1 + std::abs(expected)), what);
  }
}

std::vector<std::vector<float>> random_rows(size_t rows, size_t columns, double deviation) {
  std::vector<std::vector<float>> result;
  for (size_t r = 0; r < rows; r++) {
    result.push_back(check::random<float>(columns, deviation));
  }
  return result;
}

}  // namespace

TEST(log_probability_takes_every_vocabulary_and_panel) {
  for (size_t vocabulary : {1, 7, 31, 32, 33, 127, 257, 1024, 5003}) {
    const auto last = static_cast<int32_t>(vocabulary) - 1;
    for (size_t panel : {vocabulary, vocabulary / 2 + 1, size_t{1000}}) {
      run(random_rows(4, vocabulary, 3), {0, -1, last, last / 2}, panel);
    }
  }
}

TEST(log_probability_takes_unaligned_logits) {
  for (size_t shift = 1; shift < 4; shift++) {
    run(random_rows(2, 512, 3), {5, 500}, 256, shift);
  }
}

TEST(log_probability_holds_for_huge_logits) {
  run(random_rows(3, 700, 1e4), {0, 350, 699}, 200);
  std::vector<float> rising(3000);
  for (size_t i = 0; i < rising.size(); i++) {
    rising[i] = static_cast<float>(i);  // a new maximum in every run
  }
  run({rising, {rising.rbegin(), rising.rend()}}, {2990, 5}, 1024);
}

TEST(log_probability_of_what_is_impossible) {
  std::vector<float> some(600, -kInfinity);
  some[400] = 1;
  some[401] = 2;
  run({some}, {400}, 100);  // the first panels are -infinity throughout
  run({some}, {3}, 600);
}

TEST(log_probability_of_nan_and_infinity_is_nan) {
  std::vector<std::vector<float>> logits = random_rows(4, 600, 1);
  logits[1][2] = NAN;
  logits[2][599] = kInfinity;
  std::fill(logits[3].begin(), logits[3].end(), -kInfinity);
  check::Buffer<int32_t> targets({0, 1, 2, 3});
  check::Buffer<double> total(4);
  check::Buffer<float> most(4), target(4);
  for (int64_t first : {0, 200, 400}) {
    std::vector<float> part;
    for (const auto& row : logits) {
      part.insert(part.end(), row.begin() + first, row.begin() + first + 200);
    }
    check::Buffer<float> device(part);
    check::launch("laco_log_probability_f32_v1", 4, 256, 0, static_cast<const float*>(device.data()),
                  static_cast<const int32_t*>(targets.data()), total.data(), most.data(), target.data(),
                  int64_t{200}, first);
  }
  for (size_t r = 0; r < 4; r++) {
    const double result = check::wide(target[r]) - check::wide(most[r]) - std::log(total[r]);
    CHECK_THAT(std::isnan(result) == (r > 0), "row " + std::to_string(r) + " " + std::to_string(result));
  }
}
