// kl_divergence.cu against the definition in f64, panel by panel.
#include <algorithm>
#include <limits>

#include "check.hpp"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Rows = std::vector<std::vector<float>>;

std::vector<float> part(const Rows& rows, size_t first, size_t columns) {
  std::vector<float> result;
  for (const auto& row : rows) {
    result.insert(result.end(), row.begin() + static_cast<int64_t>(first),
                  row.begin() + static_cast<int64_t>(first + columns));
  }
  return result;
}

// The divergences that the kernel computes, with the vocabulary in panels of `panel` entries.
std::vector<double> divergences(const Rows& logits, const Rows& reference, size_t panel, size_t shift = 0) {
  const size_t rows = logits.size(), vocabulary = logits[0].size();
  // The buffer begins as NaN: a result that the kernel does not initialise is NaN.
  check::Buffer<double> state(5 * rows);
  for (size_t first = 0; first < vocabulary; first += panel) {
    const size_t columns = std::min(panel, vocabulary - first);
    check::Buffer<float> h(part(logits, first, columns), shift), r(part(reference, first, columns), shift);
    check::launch("laco_kl_divergence_f32_v1", static_cast<unsigned>(rows), 256, 0,
                  static_cast<const float*>(h.data()), static_cast<const float*>(r.data()), state.data(),
                  static_cast<int64_t>(columns), static_cast<int64_t>(first));
  }
  std::vector<double> result;
  for (size_t r = 0; r < rows; r++) {
    const double* s = state.data() + 5 * r;
    result.push_back(s[2] / s[1] + (s[3] - s[0]) + std::log(s[4] / s[1]));
  }
  return result;
}

double log_sum(const std::vector<float>& logits) {
  const double largest = check::wide(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (float logit : logits) {
    sum += std::exp(check::wide(logit) - largest);
  }
  return largest + std::log(sum);
}

void run(const Rows& logits, const Rows& reference, size_t panel, size_t shift = 0) {
  const std::vector<double> actual = divergences(logits, reference, panel, shift);
  for (size_t r = 0; r < logits.size(); r++) {
    const double sum = log_sum(logits[r]), reference_sum = log_sum(reference[r]);
    double expected = 0;
    for (size_t i = 0; i < logits[r].size(); i++) {
      const double p = check::wide(reference[r][i]) - reference_sum;
      expected += std::exp(p) == 0 ? 0 : std::exp(p) * (p - (check::wide(logits[r][i]) - sum));
    }
    CHECK_CLOSE(actual[r], expected, 2e-6 * (1 + std::abs(expected)),
                "row " + std::to_string(r) + ", " + std::to_string(logits[r].size()) + " in panels of " +
                    std::to_string(panel));
  }
}

Rows random_rows(size_t rows, size_t columns, double deviation) {
  Rows result;
  for (size_t r = 0; r < rows; r++) {
    result.push_back(check::random<float>(columns, deviation));
  }
  return result;
}

}  // namespace

TEST(kl_divergence_takes_every_vocabulary_and_panel) {
  for (size_t vocabulary : {1, 7, 31, 32, 33, 127, 257, 1024, 5003}) {
    for (size_t panel : {vocabulary, vocabulary / 2 + 1, size_t{1000}}) {
      run(random_rows(3, vocabulary, 3), random_rows(3, vocabulary, 3), panel);
    }
  }
}

TEST(kl_divergence_takes_unaligned_logits) {
  for (size_t shift = 1; shift < 4; shift++) {
    run(random_rows(2, 512, 3), random_rows(2, 512, 3), 256, shift);
  }
}

TEST(kl_divergence_of_the_same_is_zero) {
  const Rows logits = random_rows(3, 700, 5);
  for (double divergence : divergences(logits, logits, 300)) {
    CHECK(divergence == 0);
  }
}

TEST(kl_divergence_holds_for_huge_logits) {
  std::vector<float> rising(3000);
  for (size_t i = 0; i < rising.size(); i++) {
    rising[i] = static_cast<float>(i);  // a new maximum in every run
  }
  const std::vector<float> falling(rising.rbegin(), rising.rend());
  run({rising, falling, rising}, {rising, rising, falling}, 1024);
}

TEST(kl_divergence_of_what_is_impossible) {
  std::vector<float> some(600, -kInfinity), other(600, -kInfinity);
  some[400] = 1;
  some[401] = 2;
  other[400] = 3;
  run({some}, {other}, 100);  // the first panels are -infinity throughout
  CHECK(divergences({other}, {some}, 100)[0] == static_cast<double>(kInfinity));
}

TEST(kl_divergence_of_nan_is_nan) {
  for (size_t at : {0, 599}) {
    Rows logits = random_rows(2, 600, 1), reference = random_rows(2, 600, 1);
    logits[0][at] = NAN;
    reference[1][at] = NAN;
    for (double divergence : divergences(logits, reference, 200)) {
      CHECK(std::isnan(divergence));
    }
  }
}
