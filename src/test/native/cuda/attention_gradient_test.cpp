// attention_gradient.cu against the gradients of attention in f64.
#include <algorithm>

#include "attention_cases.hpp"

namespace {

using namespace attention;

// A gradient with the sums of the magnitudes of its terms, and of what these are differences of: the errors of f32 are
// relative to the latter, those of rounded terms to the former.
struct Gradient {
  std::vector<double> value, magnitude, before;

  explicit Gradient(size_t n) : value(n), magnitude(n), before(n) {}

  void add(size_t i, double term, double of) {
    value[i] += term;
    magnitude[i] += std::abs(term);
    before[i] += std::abs(of);
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
        std::vector<double> scores, slopes, by_weight, sizes;
        for (int j = first; j <= i; j++) {
          const size_t k = in.key_row(c, s, j, h / c.group());
          double score = 0, product = 0, size = 0;
          for (size_t d = 0; d < width; d++) {
            score += check::wide(in.query[q + d]) * check::wide(in.key[k + d]);
            product += check::wide(gradient[q + d]) * check::wide(in.value[k + d]);
            size += std::abs(check::wide(gradient[q + d]) * check::wide(in.value[k + d]));
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
          sizes.push_back(size);
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
          const double before = weight * (sizes[j] + std::abs(common)) * slopes[j];
          for (size_t d = 0; d < width; d++) {
            const double by_value = weight * check::wide(gradient[q + d]);
            expected.value.add(k + d, by_value, by_value);
            expected.query.add(q + d, by_product * check::wide(in.key[k + d]), before * check::wide(in.key[k + d]));
            expected.key.add(k + d, by_product * check::wide(in.query[q + d]), before * check::wide(in.query[q + d]));
          }
        }
      }
    }
  }
  return expected;
}

struct Variant {
  const char* name;  // of the kernels: laco_attention_gradient_<keys|queries>_<name>
  int own, threads, most_width;
  bool narrow;  // whether tensors are bf16, for widths that are multiples of 16

  int shared_bytes(int width) const {
    return narrow ? 2 * most_width * (2 * own + 4 * 32) : 192 * ((width + 31) / 32 * 32) + 512;
  }
  bool takes(int width) const { return width <= most_width && (!narrow || width % 16 == 0); }
};

const Variant kVariants[] = {
    {"f32_v1", 8, 128, 512, false},
    {"bf16_v2", 64, 128, 64, true},
    {"bf16_v3", 64, 128, 128, true},
};

constexpr double kF32 = 2e-6;     // of what terms are differences of
constexpr double kBf16 = 0x1p-8;  // of terms that are rounded to bf16, to half a unit in the last of 8 places

void compare(const Variant& variant, const char* what, const Case& c, check::Buffer<float>& actual,
             const Gradient& expected) {
  for (size_t i = 0; i < actual.size(); i++) {
    const double must = expected.value[i];
    const double limit = kF32 * (1e-3 + expected.before[i]) + (variant.narrow ? kBf16 * expected.magnitude[i] : 0);
    CHECK_CLOSE(check::wide(actual[i]), must, std::isfinite(must) ? limit : 0,
                std::string(variant.name) + " by " + what + ", " + c.words() + ", element " + std::to_string(i));
  }
}

template <class T>
std::vector<T> narrowed(const std::vector<float>& values) {
  std::vector<T> all;
  for (float value : values) {
    all.push_back(check::narrow<T>(check::wide(value)));
  }
  return all;
}

template <class T>
void round(std::vector<float>& values) {
  for (float& value : values) {
    value = static_cast<float>(check::wide(check::narrow<T>(check::wide(value))));
  }
}

template <class T>
void run(const Variant& variant, const Case& c, const Inputs& in, const std::vector<float>& gradient,
         const Expected& expected) {
  check::Buffer<T> query(narrowed<T>(in.query), c.shift[0]), key(narrowed<T>(in.key), c.shift[1]);
  check::Buffer<T> value(narrowed<T>(in.value), c.shift[2]), from(narrowed<T>(gradient), c.shift[3]);
  check::Buffer<float> slopes(in.slopes);
  check::Buffer<float> log_sums(expected.log_sums), commons(expected.commons);
  check::Buffer<float> by_query(in.query.size(), c.shift[0]), by_key(in.key.size(), c.shift[1]);
  check::Buffer<float> by_value(in.key.size(), c.shift[2]);
  check::Buffer<int32_t> offsets(in.offsets), past(c.past);
  const int longest = *std::max_element(c.lengths.begin(), c.lengths.end());
  const auto shared = static_cast<size_t>(variant.shared_bytes(c.width));
  auto grid = [&](int rows) {
    return dim3(static_cast<unsigned>((rows + variant.own - 1) / variant.own), static_cast<unsigned>(c.key_heads),
                static_cast<unsigned>(c.lengths.size()));
  };
  const auto threads = static_cast<unsigned>(variant.threads);
  const T *q = query.data(), *k = key.data(), *v = value.data(), *g = from.data();
  const float *l = log_sums.data(), *m = commons.data(), *a = c.alibi ? slopes.data() : nullptr;
  const int32_t *o = offsets.data(), *p = past.data();
  const std::string name = "laco_attention_gradient_";
  check::launch((name + "keys_" + variant.name).c_str(), grid(longest), threads, shared, q, k, v, g, l, m, by_key.data(),
                by_value.data(), o, o, p, a, c.heads, c.key_heads, c.width, c.window, in.scale, c.soft_cap);
  check::launch((name + "queries_" + variant.name).c_str(), grid(longest * c.group()), threads, shared, q, k, v, g, l, m,
                by_query.data(), o, o, p, a, c.heads, c.key_heads, c.width, c.window, in.scale, c.soft_cap);
  compare(variant, "queries", c, by_query, expected.query);
  compare(variant, "keys", c, by_key, expected.key);
  compare(variant, "values", c, by_value, expected.value);
}

// c.shift is that of q, k, v and the gradient by out; those by q, k and v have the same.
void run(const Case& c, Inputs in) {
  std::vector<float> gradient = check::random<float>(in.query.size());
  const Expected wide = differentiate(c, in, gradient);
  for (const Variant& variant : kVariants) {
    if (variant.takes(c.width) && !variant.narrow) {
      run<float>(variant, c, in, gradient, wide);
    }
  }
  for (auto* values : {&in.query, &in.key, &in.value, &gradient}) {
    round<__nv_bfloat16>(*values);
  }
  const Expected expected = differentiate(c, in, gradient);
  for (const Variant& variant : kVariants) {
    if (variant.takes(c.width) && variant.narrow) {
      run<__nv_bfloat16>(variant, c, in, gradient, expected);
    }
  }
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
  for (int length : {127, 128, 129, 161, 300}) {
    run({1, 1, 64, {length}});
  }
  run({2, 1, 128, {140, 3}});
}

TEST(attention_gradient_of_packed_sequences_and_grouped_heads) {
  run({4, 4, 8, {1, 7, 33}});
  run({4, 2, 36, {3, 40, 1}});
  run({9, 3, 8, {20, 2, 12}});
  run({4, 2, 80, {3, 90, 1}});
  run({6, 2, 48, {130, 20}});
}

TEST(attention_gradient_within_a_window_with_caps_and_slopes) {
  for (int window : {1, 2, 33}) {
    run({4, 2, 12, {50, 3}, {0, 0}, window});
  }
  for (int window : {1, 20, 100}) {
    run({2, 1, 32, {180, 3}, {0, 0}, window});
  }
  run({2, 1, 16, {40}, {0}, 0, 2.0f});
  run({4, 4, 8, {40}, {0}, 0, 0, true});
  run({6, 2, 8, {30, 5}, {0, 0}, 17, 3.0f, true});
  run({6, 2, 16, {70, 5}, {0, 0}, 50, 3.0f, true});
}

TEST(attention_gradient_of_tensors_aligned_to_an_element) {
  for (size_t tensor = 0; tensor < 4; tensor++) {
    for (int width : {36, 48}) {
      Case c{2, 1, width, {20}};
      c.shift[tensor] = 1;
      run(c);
    }
  }
}

TEST(attention_gradient_does_not_see_what_is_masked) {
  for (int width : {8, 16, 128}) {
    for (int what = 0; what < 3; what++) {
      const Case c{4, 2, width, {140, 12}, {0, 0}, 10};
      Inputs in(c);
      if (what == 0) {
        in.key[in.key_row(c, 0, 70, 1) + 3] = static_cast<float>(kNaN);
      } else if (what == 1) {
        in.value[in.key_row(c, 0, 35, 0) + 5] = static_cast<float>(kInfinity);
      } else {
        in.query[static_cast<size_t>(60 * c.query_stride())] = static_cast<float>(kNaN);
        in.query[static_cast<size_t>(139 * c.query_stride())] = static_cast<float>(kInfinity);
      }
      run(c, in);
    }
  }
}
