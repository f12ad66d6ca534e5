// route.cu against the definition in f64.
#include <algorithm>
#include <limits>
#include <numeric>

#include "check.hpp"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void run(const std::vector<std::vector<float>>& logits, size_t chosen, bool normalised, size_t shift = 0) {
  const size_t tokens = logits.size(), experts = logits[0].size();
  std::vector<float> all;
  for (const auto& row : logits) {
    all.insert(all.end(), row.begin(), row.end());
  }
  check::Buffer<float> device(all, shift);
  check::Buffer<int32_t> indices(tokens * chosen);
  check::Buffer<float> shares(tokens * chosen);
  check::launch("laco_route_f32_v1", static_cast<unsigned>(tokens), 32, 0, static_cast<const float*>(device.data()),
                indices.data(), shares.data(), static_cast<int32_t>(experts), static_cast<int32_t>(chosen),
                static_cast<int32_t>(normalised));
  for (size_t t = 0; t < tokens; t++) {
    const std::vector<float>& row = logits[t];
    auto key = [&](size_t e) { return std::isnan(row[e]) ? -kInfinity : row[e]; };
    std::vector<size_t> order(experts);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) > key(b); });
    const double most = key(order[0]) == -kInfinity ? 0 : check::wide(row[order[0]]);
    double total = 0;
    for (size_t i = 0; i < (normalised ? chosen : experts); i++) {
      total += std::exp(check::wide(row[order[i]]) - most);
    }
    for (size_t i = 0; i < chosen; i++) {
      const std::string what = std::to_string(experts) + " experts, token " + std::to_string(t) + ", choice " +
                               std::to_string(i);
      CHECK_THAT(indices[t * chosen + i] == static_cast<int32_t>(order[i]), what);
      CHECK_CLOSE(check::wide(shares[t * chosen + i]), std::exp(check::wide(row[order[i]]) - most) / total, 1e-6, what);
    }
  }
}

std::vector<std::vector<float>> random_rows(size_t rows, size_t columns) {
  std::vector<std::vector<float>> result;
  for (size_t r = 0; r < rows; r++) {
    result.push_back(check::random<float>(columns, 2));
  }
  return result;
}

}  // namespace

TEST(route_chooses_any_number_of_any_number_of_experts) {
  for (size_t experts : {1, 2, 7, 8, 31, 32, 33, 60, 64, 128, 257}) {
    for (size_t chosen : {size_t{1}, std::min<size_t>(experts, 8), experts}) {
      for (size_t shift = 0; shift < 4; shift++) {
        run(random_rows(3, experts), chosen, false, shift);
        run(random_rows(3, experts), chosen, true, shift);
      }
    }
  }
}

TEST(route_takes_the_lower_index_among_equals_and_nan_last) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> many(70, 1.0f);
  many[3] = nan;
  many[40] = 2;
  many[50] = 2;
  many[60] = -kInfinity;
  run({many, std::vector<float>(70, -kInfinity), std::vector<float>(70, nan)}, 9, true);
  run({{0.0f, -0.0f, kInfinity, nan, -kInfinity}, {nan, -kInfinity, nan, 1, 1}}, 5, false);
}
