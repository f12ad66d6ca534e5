// route.cu against the definition in f64.
#include <algorithm>
#include <limits>
#include <numeric>

#include "check.hpp"

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Router {
  bool sigmoid = false;
  bool normalised = false;
  float factor = 1;
  std::vector<float> correction = {};
  size_t groups = 1;
  size_t staying = 1;
  size_t best = 1;
  float added = 0;
};

void run(const std::vector<std::vector<float>>& logits, size_t chosen, const Router& router, size_t shift = 0) {
  const size_t tokens = logits.size(), experts = logits[0].size();
  std::vector<float> all;
  for (const auto& row : logits) {
    all.insert(all.end(), row.begin(), row.end());
  }
  check::Buffer<float> device(all, shift);
  check::Buffer<int32_t> indices(tokens * chosen);
  check::Buffer<float> shares(tokens * chosen);
  check::Buffer<float> correction(router.correction.empty() ? std::vector<float>(1) : router.correction, shift);
  check::launch("laco_route_f32_v1", static_cast<unsigned>(tokens), 32, 0, static_cast<const float*>(device.data()),
                static_cast<const float*>(router.correction.empty() ? nullptr : correction.data()), indices.data(),
                shares.data(), static_cast<int32_t>(experts), static_cast<int32_t>(chosen),
                static_cast<int32_t>(router.sigmoid), static_cast<int32_t>(router.normalised), router.factor, router.added,
                static_cast<int32_t>(router.groups), static_cast<int32_t>(router.staying),
                static_cast<int32_t>(router.best));
  for (size_t t = 0; t < tokens; t++) {
    const std::vector<float>& row = logits[t];
    float most = -kInfinity;
    for (const float logit : row) {
      most = logit > most ? logit : most;
    }
    auto weight = [&](size_t e) {
      const double x = check::wide(row[e]);
      return router.sigmoid ? 1 / (1 + std::exp(-x)) : std::exp(x - (most == -kInfinity ? 0 : check::wide(most)));
    };
    const bool ratios = router.sigmoid || (router.normalised && router.correction.empty() && router.added == 0);
    double all = ratios ? 1 : 0;
    for (size_t e = 0; e < experts && !ratios; e++) {
      all += weight(e);
    }
    auto key = [&](size_t e) {
      const double k = router.correction.empty() ? check::wide(row[e]) : weight(e) / all + check::wide(router.correction[e]);
      return std::isnan(k) ? -INFINITY : k;
    };
    std::vector<size_t> order(experts);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) > key(b); });
    const size_t size = experts / router.groups;
    std::vector<double> sums(router.groups);
    std::vector<size_t> seen(router.groups), best(router.groups);
    for (const size_t e : order) {
      const double own = router.correction.empty() && router.best == 2 ? weight(e) / all : key(e);
      sums[e / size] += seen[e / size]++ < router.best ? own : 0;
    }
    std::iota(best.begin(), best.end(), size_t{0});
    std::stable_sort(best.begin(), best.end(), [&](size_t a, size_t b) { return sums[a] > sums[b]; });
    std::erase_if(order, [&](size_t e) {
      return std::find(best.begin(), best.begin() + static_cast<int64_t>(router.staying), e / size) ==
             best.begin() + static_cast<int64_t>(router.staying);
    });
    double total = router.normalised ? check::wide(router.added) : 1;
    for (size_t i = 0; i < chosen && router.normalised; i++) {
      total += weight(order[i]) / all;
    }
    for (size_t i = 0; i < chosen; i++) {
      const std::string what = std::to_string(experts) + " experts, token " + std::to_string(t) + ", choice " +
                               std::to_string(i);
      CHECK_THAT(indices[t * chosen + i] == static_cast<int32_t>(order[i]), what);
      CHECK_CLOSE(check::wide(shares[t * chosen + i]), check::wide(router.factor) * weight(order[i]) / all / total, 2e-6, what);
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
        for (const bool sigmoid : {false, true}) {
          run(random_rows(3, experts), chosen, {sigmoid, false, 1}, shift);
          run(random_rows(3, experts), chosen, {sigmoid, true, 2.5f}, shift);
          run(random_rows(3, experts), chosen, {.sigmoid = sigmoid, .normalised = true, .added = 0.25f}, shift);
        }
      }
    }
  }
}

TEST(route_adds_the_correction_to_the_choice_and_not_to_the_shares) {
  for (size_t experts : {1, 7, 32, 60, 257}) {
    std::vector<float> steps;
    for (size_t e = 0; e < experts; e++) {
      steps.push_back(static_cast<float>(10 * (e * 7 % experts)));
    }
    for (const bool sigmoid : {false, true}) {
      run(random_rows(3, experts), std::min<size_t>(experts, 8), {sigmoid, true, 1.5f, steps});
      run(random_rows(3, experts), std::min<size_t>(experts, 8), {sigmoid, false, 1, steps});
    }
  }
  run({{0, -1, 1}}, 2, {true, true, 2, {0, 0.5f, 0}});
}

TEST(route_takes_experts_of_the_best_groups) {
  for (size_t groups : {2, 4, 8, 31, 33, 64}) {
    for (size_t size : {2, 5, 32}) {
      for (size_t best : {1, 2}) {
        for (const bool sigmoid : {false, true}) {
          const size_t staying = (groups + 1) / 2, chosen = std::min<size_t>(size * staying, 8);
          run(random_rows(3, groups * size), chosen, {sigmoid, true, 1, {}, groups, staying, best});
          const std::vector<float> correction = check::random<float>(groups * size);
          run(random_rows(3, groups * size), chosen, {sigmoid, false, 2, correction, groups, staying, best});
        }
      }
    }
  }
  // Two good experts go before the best one and a bad one.
  run({{0, 3, -9, -9, 1, 1, 2, -9}}, 2, {true, true, 1, {}, 4, 1, 2});
  run({{0, 3, -9, -9, 1, 1, 2, -9}}, 2, {true, true, 1, {}, 4, 1, 1});
}

TEST(route_takes_the_lower_index_among_equals_and_nan_last) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> many(70, 1.0f);
  many[3] = nan;
  many[40] = 2;
  many[50] = 2;
  many[60] = -kInfinity;
  run({many, std::vector<float>(70, -kInfinity), std::vector<float>(70, nan)}, 9, {false, true, 1});
  run({{0.0f, -0.0f, kInfinity, nan, -kInfinity}, {nan, -kInfinity, nan, 1, 1}}, 5, {});
}
