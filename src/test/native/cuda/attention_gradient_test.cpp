// attention_gradient.cu against the gradients of attention in f64.
#include <algorithm>

#include "attention_cases.hpp"

namespace {

using namespace attention;

// A gradient with the sums of the magnitudes of its terms.
struct Gradient {
  std::vector<double> value, magnitude;

  explicit Gradient(size_t n) : value(n), magnitude(n) {}

  void add(size_t i, double term) {
    value[i] += term;
    magnitude[i] += std::abs(term);
  }
};

struct Expected {
  Gradient query, key, value;
  std::vector<float> log_sums, commons;
};

Expected differentiate(const Case& c, const Inputs& in, const std::vector<float>& gradient) {
  Expected expected{Gradient(in.query.size()), Gradient(in.key.size()), Gradient(in.key.size()), {}, {}};
  const auto width = static_cast<size_t>(c.width);
  for (int s = 0; s < static_cast<int>(c.lengths.size()); s++) {
    for (int i = 0; i < c.lengths[static_cast<size_t>(s)]; i++) {
      const int first = c.window == 0 ? 0 : std::max(0, i - c.window + 1);
      for (int h = 0; h < c.heads; h++) {
        const auto q = static_cast<size_t>((in.offsets[static_cast<size_t>(s)] + i) * c.query_stride() + h * c.width);
        std::vector<double> scores, slopes, by_weight;
        for (int j = first; j <= i; j++) {
          const size_t k = in.key_row(c, s, j, h / c.group());
          double score = 0, product = 0;
          for (size_t d = 0; d < width; d++) {
            score += check::wide(in.query[q + d]) * check::wide(in.key[k + d]);
            product += check::wide(gradient[q + d]) * check::wide(in.value[k + d]);
          }
          score *= check::wide(in.scale);
          double slope = check::wide(in.scale);
          if (c.soft_cap != 0) {
            const double share = std::tanh(score / check::wide(c.soft_cap));
            score = check::wide(c.soft_cap) * share;
            slope *= 1 - share * share;
          }
          if (c.alibi) {
            score += check::wide(in.slopes[static_cast<size_t>(h)]) * (j - i);
          }
          scores.push_back(score);
          slopes.push_back(slope);
          by_weight.push_back(product);
        }
        const double most = *std::max_element(scores.begin(), scores.end());
        double total = 0, common = 0;
        for (double score : scores) {
          total += std::exp(score - most);
        }
        const double log_sum = most + std::log(total);
        for (size_t j = 0; j < scores.size(); j++) {
          common += std::exp(scores[j] - log_sum) * by_weight[j];
        }
        expected.log_sums.push_back(static_cast<float>(log_sum));
        expected.commons.push_back(static_cast<float>(common));
        for (size_t j = 0; j < scores.size(); j++) {
          const size_t k = in.key_row(c, s, first + static_cast<int>(j), h / c.group());
          const double weight = std::exp(scores[j] - log_sum);
          const double by_product = weight * (by_weight[j] - common) * slopes[j];
          for (size_t d = 0; d < width; d++) {
            expected.value.add(k + d, weight * check::wide(gradient[q + d]));
            expected.query.add(q + d, by_product * check::wide(in.key[k + d]));
            expected.key.add(k + d, by_product * check::wide(in.query[q + d]));
          }
        }
      }
    }
  }
  return expected;
}

void compare(const char* what, const Case& c, check::Buffer<float>& actual, const Gradient& expected) {
  for (size_t i = 0; i < actual.size(); i++) {
    const double must = expected.value[i];
    CHECK_CLOSE(check::wide(actual[i]), must, std::isfinite(must) ? 5e-6 * (1 + expected.magnitude[i]) : 0,
                std::string("by ") + what + ", " + c.words() + ", element " + std::to_string(i));
  }
}

// c.shift is that of q, k, v and the gradient by out; those by q, k and v have the same.
void run(const Case& c, const Inputs& in) {
  const std::vector<float> gradient = check::random<float>(in.query.size());
  const Expected expected = differentiate(c, in, gradient);
  check::Buffer<float> query(in.query, c.shift[0]), key(in.key, c.shift[1]), value(in.value, c.shift[2]);
  check::Buffer<float> from(gradient, c.shift[3]), slopes(in.slopes);
  check::Buffer<float> log_sums(expected.log_sums), commons(expected.commons);
  check::Buffer<float> by_query(in.query.size(), c.shift[0]), by_key(in.key.size(), c.shift[1]);
  check::Buffer<float> by_value(in.key.size(), c.shift[2]);
  check::Buffer<int32_t> offsets(in.offsets), past(c.past);
  const int longest = *std::max_element(c.lengths.begin(), c.lengths.end());
  const auto shared = static_cast<size_t>(192 * ((c.width + 31) / 32 * 32) + 512);
  auto grid = [&](int rows) {
    return dim3(static_cast<unsigned>((rows + 7) / 8), static_cast<unsigned>(c.key_heads),
                static_cast<unsigned>(c.lengths.size()));
  };
  const float *q = query.data(), *k = key.data(), *v = value.data(), *g = from.data();
  const float *l = log_sums.data(), *m = commons.data(), *a = c.alibi ? slopes.data() : nullptr;
  const int32_t *o = offsets.data(), *p = past.data();
  check::launch("laco_attention_gradient_keys_f32_v1", grid(longest), 128, shared, q, k, v, g, l, m, by_key.data(),
                by_value.data(), o, o, p, a, c.heads, c.key_heads, c.width, c.window, in.scale, c.soft_cap);
  check::launch("laco_attention_gradient_queries_f32_v1", grid(longest * c.group()), 128, shared, q, k, v, g, l, m,
                by_query.data(), o, o, p, a, c.heads, c.key_heads, c.width, c.window, in.scale, c.soft_cap);
  compare("queries", c, by_query, expected.query);
  compare("keys", c, by_key, expected.key);
  compare("values", c, by_value, expected.value);
}

void run(const Case& c) { run(c, Inputs(c)); }

}  // namespace

TEST(attention_gradient_of_every_width) {
  for (int width : {1, 7, 12, 32, 33, 64, 128, 200, 512}) {
    run({2, 1, width, {5, 19}});
  }
}

TEST(attention_gradient_of_every_length) {
  for (int length : {1, 7, 8, 9, 31, 32, 33, 65}) {
    run({1, 1, 16, {length}});
  }
}

TEST(attention_gradient_of_packed_sequences_and_grouped_heads) {
  run({4, 4, 8, {1, 7, 33}});
  run({4, 2, 36, {3, 40, 1}});
  run({9, 3, 8, {20, 2, 12}});
}

TEST(attention_gradient_within_a_window_with_caps_and_slopes) {
  for (int window : {1, 2, 33}) {
    run({4, 2, 12, {50, 3}, {0, 0}, window});
  }
  run({2, 1, 16, {40}, {0}, 0, 2.0f});
  run({4, 4, 8, {40}, {0}, 0, 0, true});
  run({6, 2, 8, {30, 5}, {0, 0}, 17, 3.0f, true});
}

TEST(attention_gradient_of_tensors_aligned_to_an_element) {
  for (size_t tensor = 0; tensor < 4; tensor++) {
    Case c{2, 1, 36, {20}};
    c.shift[tensor] = 1;
    run(c);
  }
}

TEST(attention_gradient_does_not_see_what_is_masked) {
  const Case c{4, 2, 8, {40, 12}, {0, 0}, 10};
  Inputs in(c);
  in.key[in.key_row(c, 0, 30, 1) + 3] = static_cast<float>(kNaN);
  in.value[in.key_row(c, 0, 5, 0) + 5] = static_cast<float>(kInfinity);
  in.query[static_cast<size_t>(20 * c.query_stride())] = static_cast<float>(kNaN);
  run(c, in);
}
