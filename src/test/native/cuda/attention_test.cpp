// attention.cu against the definition of attention in f64, with inputs rounded as the kernel variant rounds
// them.
#include <algorithm>

#include "attention_cases.hpp"

namespace {

using namespace attention;

struct Variant {
  const char* name;
  int rows, threads, shared_bytes, most_width;
  double tolerance;  // relative to the weighted sum of the values' magnitudes
  float (*rounded)(float);
  double least;  // the smallest normal number of the type
};

template <class T>
float rounded_to(float x) {
  return static_cast<float>(check::wide(check::narrow<T>(static_cast<double>(x))));
}

// Softmax weights are rounded to half a unit in the last place of the 16-bit type; f32 sums of some hundred
// terms add an error of 1e-5.
constexpr double kBf16 = 0x1p-8 + 1e-5, kF16 = 0x1p-11 + 1e-5;
const Variant kF32{"laco_attention_f32_v1", 16, 128, 0, 512, 3e-6, rounded_to<float>, 0x1p-126};
const std::vector<Variant> kVariants = {
    kF32,
    {"laco_attention_bf16_v2", 128, 256, 24576, 64, kBf16, rounded_to<__nv_bfloat16>, 0x1p-126},
    {"laco_attention_bf16_v3", 128, 128, 49152, 128, kBf16, rounded_to<__nv_bfloat16>, 0x1p-126},
    {"laco_attention_bf16_v4", 128, 256, 98304, 256, kBf16, rounded_to<__nv_bfloat16>, 0x1p-126},
    {"laco_attention_f16_v2", 128, 256, 24576, 64, kF16, rounded_to<__half>, 0x1p-14},
    {"laco_attention_f16_v3", 128, 128, 49152, 128, kF16, rounded_to<__half>, 0x1p-14},
    {"laco_attention_f16_v4", 128, 256, 98304, 256, kF16, rounded_to<__half>, 0x1p-14},
};

struct Expected {
  // The weighted sums of values, and of the values' magnitudes. Among the latter, weights below the smallest normal
  // number count as this number, since they are rounded as coarsely.
  std::vector<double> out, magnitude;
  std::vector<double> log_sums;        // of each query's scores, by token and head
};

Expected attend(const Case& c, const Inputs& in, const Variant& variant) {
  Expected expected;
  expected.out.resize(in.query.size());
  expected.magnitude.resize(in.query.size());
  auto get = [&](const std::vector<float>& from, size_t i) { return static_cast<double>(variant.rounded(from[i])); };
  const auto width = static_cast<size_t>(c.width);
  for (int s = 0; s < static_cast<int>(c.lengths.size()); s++) {
    const auto at = static_cast<size_t>(s);
    for (int i = 0; i < c.lengths[at]; i++) {
      const int position = c.past[at] + i;
      const int first = c.window == 0 ? 0 : std::max(0, position - c.window + 1);
      for (int h = 0; h < c.heads; h++) {
        const auto q = static_cast<size_t>((in.offsets[at] + i) * c.query_stride() + h * c.width);
        std::vector<double> weights;
        for (int j = first; j <= position; j++) {
          const size_t k = in.key_row(c, s, j, h / c.group());
          double score = 0;
          for (size_t d = 0; d < width; d++) {
            score += get(in.query, q + d) * get(in.key, k + d);
          }
          score *= static_cast<double>(in.scale);
          if (c.soft_cap != 0) {
            const auto cap = static_cast<double>(c.soft_cap);
            score = cap * std::tanh(score / cap);
          }
          if (c.alibi) {
            score += static_cast<double>(in.slopes[static_cast<size_t>(h)]) * (j - position);
          }
          weights.push_back(score);
        }
        const double sink = c.sinks ? static_cast<double>(in.sinks[static_cast<size_t>(h)]) : -kInfinity;
        const double most = std::max(sink, *std::max_element(weights.begin(), weights.end()));
        double total = std::exp(sink - most);
        for (double& weight : weights) {
          weight = std::exp(weight - most);
          total += weight;
        }
        expected.log_sums.push_back(most + std::log(total));
        for (size_t d = 0; d < width; d++) {
          double sum = 0, magnitude = 0;
          for (int j = first; j <= position; j++) {
            const double weight = weights[static_cast<size_t>(j - first)];
            const double value = get(in.value, in.key_row(c, s, j, h / c.group()) + d);
            sum += weight / total * value;
            magnitude += std::max(weight, variant.least) / total * std::abs(value);
          }
          expected.out[q + d] = sum;
          expected.magnitude[q + d] = magnitude;
        }
      }
    }
  }
  return expected;
}

bool takes(const Variant& variant, const Case& c) {
  return variant.rows == kF32.rows || (c.width % 16 == 0 && c.width <= variant.most_width);
}

template <class T>
std::vector<T> narrowed(const std::vector<float>& from) {
  std::vector<T> to;
  for (float x : from) {
    to.push_back(check::narrow<T>(check::wide(x)));
  }
  return to;
}

// Keys and values have the kernel's type.
template <class T>
void run(const Variant& variant, const Case& c, const Inputs& in, const Expected& expected, double tolerance) {
  check::Buffer<float> query(in.query, c.shift[0]);
  check::Buffer<T> key(narrowed<T>(in.key), c.shift[1]), value(narrowed<T>(in.value), c.shift[2]);
  check::Buffer<float> out(in.query.size(), c.shift[3]);
  check::Buffer<float> log_sums(expected.log_sums.size());
  check::Buffer<float> slopes(in.slopes), sinks(in.sinks);
  check::Buffer<int32_t> offsets(in.offsets), key_offsets(in.key_offsets), past(c.past);
  const int longest = *std::max_element(c.lengths.begin(), c.lengths.end());
  const int rounded_width = (c.width + 31) / 32 * 32;
  const int shared_bytes = variant.shared_bytes != 0 ? variant.shared_bytes : 192 * rounded_width + 512;
  const auto blocks = static_cast<unsigned>((longest * c.group() + variant.rows - 1) / variant.rows);
  check::launch(variant.name,
                dim3(blocks, static_cast<unsigned>(c.key_heads), static_cast<unsigned>(c.lengths.size())),
                dim3(static_cast<unsigned>(variant.threads)), static_cast<size_t>(shared_bytes),
                static_cast<const float*>(query.data()), static_cast<const T*>(key.data()),
                static_cast<const T*>(value.data()), out.data(), log_sums.data(),
                c.sinks ? static_cast<const float*>(sinks.data()) : nullptr,
                static_cast<const int32_t*>(offsets.data()),
                static_cast<const int32_t*>(key_offsets.data()), static_cast<const int32_t*>(past.data()),
                c.alibi ? static_cast<const float*>(slopes.data()) : nullptr, c.heads, c.key_heads, c.width,
                c.window, in.scale, c.soft_cap);
  for (size_t i = 0; i < out.size(); i++) {
    const double actual = static_cast<double>(out[i]), must = expected.out[i];
    const double limit = std::isfinite(must) ? tolerance * expected.magnitude[i] : 0;
    const bool both_nan = std::isnan(actual) && std::isnan(must);
    if (!both_nan && !(std::abs(actual - must) <= limit)) {
      CHECK_CLOSE(actual, must, limit,
                  std::string(variant.name) + ", " + c.words() + ", element " + std::to_string(i));
    }
  }
  for (size_t i = 0; i < log_sums.size(); i++) {
    const double must = expected.log_sums[i];
    CHECK_CLOSE(check::wide(log_sums[i]), must, std::isfinite(must) ? 1e-5 * (1 + std::abs(must)) : 0,
                std::string(variant.name) + ", " + c.words() + ", log-sum " + std::to_string(i));
  }
}

// Runs a case on all kernel variants that support it; `more` is added to the tolerance of each.
void run_all(const Case& c, const Inputs& in, double more = 0) {
  float (*rounded)(float) = nullptr;
  Expected expected;
  for (const Variant& variant : kVariants) {
    if (takes(variant, c)) {
      if (variant.rounded != rounded) {
        rounded = variant.rounded;
        expected = attend(c, in, variant);
      }
      const auto run_in = variant.rounded == rounded_to<float>    ? run<float>
                          : variant.rounded == rounded_to<__half> ? run<__half>
                                                                  : run<__nv_bfloat16>;
      run_in(variant, c, in, expected, variant.tolerance + more);
    }
  }
}

void run_all(const Case& c) { run_all(c, Inputs(c)); }

}  // namespace

TEST(attention_of_every_width) {
  for (int width : {1, 2, 7, 12, 16, 33, 48, 64, 80, 96, 112, 127, 128, 144, 240, 256, 257, 500, 512}) {
    run_all({2, 1, width, {5, 40}});
  }
}

TEST(attention_of_every_length) {
  for (int length : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129}) {
    run_all({1, 1, 16, {length}});
    run_all({1, 1, 80, {length}});
  }
  run_all({1, 1, 144, {33, 130}});
}

TEST(attention_of_packed_sequences_and_grouped_heads) {
  run_all({4, 4, 32, {1, 7, 33, 97}});
  run_all({4, 2, 64, {3, 70, 1}});
  run_all({9, 3, 32, {50, 2, 12}});
  run_all({8, 1, 128, {20, 5}});
}

TEST(attention_to_keys_from_before) {
  run_all({2, 2, 64, {1, 1, 5, 40}, {0, 200, 63, 64}});
  run_all({6, 2, 80, {1, 9, 33}, {127, 64, 1}});
  run_all({2, 1, 160, {1, 3}, {70, 31}});
  // One new token after 700 past tokens, as in generation.
  run_all({4, 1, 128, {1}, {700}});
}

TEST(attention_within_a_window) {
  for (int window : {1, 2, 16, 33, 64, 100}) {
    run_all({2, 1, 32, {150}, {0}, window});
  }
  run_all({1, 1, 128, {200}, {90}, 70});
  run_all({4, 2, 144, {1, 70}, {300, 5}, 40});
}

TEST(attention_with_capped_scores) {
  run_all({2, 1, 64, {80}, {3}, 0, 2.0f});
  run_all({2, 1, 144, {40}, {3}, 20, 50.0f});
}

TEST(attention_with_slopes_by_distance) {
  run_all({4, 4, 32, {70}, {9}, 0, 0, true});
  run_all({6, 2, 80, {30, 5}, {0, 64}, 0, 0, true});
  run_all({6, 2, 160, {30, 5}, {0, 64}, 17, 3.0f, true});
}

TEST(attention_with_sinks) {
  run_all({8, 2, 64, {70, 1}, {9, 0}, 0, 0, false, 0, true});
  run_all({6, 2, 80, {30, 5}, {0, 64}, 17, 0, false, 0, true});
  run_all({4, 4, 33, {40}, {3}, 0, 3.0f, true, 0, true});
  run_all({3, 1, 160, {60}, {0}, 20, 3.0f, false, 0.7f, true});
}

TEST(attention_of_tensors_aligned_to_an_element) {
  for (int width : {64, 96, 256}) {
    for (size_t shift : {1, 2, 3}) {
      Case c{2, 1, width, {40}, {30}};
      for (size_t& one : c.shift) {
        one = shift;
      }
      run_all(c);
      for (size_t& one : c.shift) {
        one = 2 * shift;  // keys and values are aligned to 4 or 8 bytes
      }
      run_all(c);
    }
    for (size_t tensor = 0; tensor < 4; tensor++) {
      Case c{1, 1, width, {20}};
      c.shift[tensor] = 1;
      run_all(c);
    }
  }
}

TEST(attention_of_large_scores) {
  for (int width : {32, 128, 256}) {
    Case c{1, 1, width, {90}};
    c.scale = 1;
    // Scores are some hundreds, so that an exponent in f32 has an absolute error of 1e-4.
    run_all(c, Inputs(c, 500.0 / width), 1e-3);
  }
}

TEST(attention_does_not_see_what_is_masked) {
  // NaN and infinities in keys and values of later positions, before the window, and of another sequence.
  for (int window : {0, 10, 40}) {
    for (int width : {16, 80, 144}) {
      const Case c{4, 2, width, {140, 30}, {0, 37}, window};
      Inputs in(c);
      in.key[in.key_row(c, 0, 70, 1) + 3] = static_cast<float>(kNaN);
      in.key[in.key_row(c, 0, 20, 0) + 5] = static_cast<float>(kInfinity);
      in.value[in.key_row(c, 0, 30, 0) + 5] = static_cast<float>(kNaN);
      in.value[in.key_row(c, 0, 131, 1) + 1] = static_cast<float>(kInfinity);
      in.value[in.key_row(c, 0, 131, 1) + 2] = static_cast<float>(-kInfinity);
      in.value[in.key_row(c, 0, 133, 1) + 2] = static_cast<float>(kInfinity);
      in.value[in.key_row(c, 1, 0, 0) + 7] = static_cast<float>(kNaN);
      in.value[in.key_row(c, 1, 60, 1) + 9] = static_cast<float>(-kInfinity);
      in.value[in.key_row(c, 1, 62, 1) + 8] = 70000;  // rounds to infinity in f16
      run_all(c, in);
    }
  }
}
