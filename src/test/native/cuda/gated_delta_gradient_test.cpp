// gated_delta_gradient.cu against the derivatives of the rule in f64, from the states behind all tokens.
#include "gated_delta_cases.hpp"

namespace {

using namespace delta;

struct Expected {
  std::vector<double> heads, decay, rate, log_decay;
  std::vector<float> errors;
};

// Adds the gradient by a query or key before it was divided by its length.
void add_through_unit(const std::vector<double>& unit, const std::vector<double>& by_unit, double length, double squares,
                      double* to) {
  double product = 0;
  for (size_t i = 0; i < unit.size(); i++) {
    product += unit[i] * by_unit[i];
  }
  for (size_t i = 0; i < unit.size(); i++) {
    to[i] += (by_unit[i] - unit[i] * product / squares) / length;
  }
}

Expected differentiate(const Case& c, const Inputs& in, const std::vector<float>& gradient) {
  const auto count = static_cast<size_t>(c.value_heads), key = static_cast<size_t>(c.key);
  const auto value = static_cast<size_t>(c.value);
  Expected expected = {std::vector<double>(in.heads.size()), std::vector<double>(in.decay.size()),
                       std::vector<double>(in.decay.size()), std::vector<double>(in.decay.size()),
                       std::vector<float>(gradient.size())};
  for (size_t s = 0; s < c.lengths.size(); s++) {
    for (size_t h = 0; h < count; h++) {
      std::vector<std::vector<double>> states = {std::vector<double>(c.state())}, errors;
      const auto first = static_cast<size_t>(in.offsets[s]);
      const auto length = static_cast<size_t>(c.lengths[s]);
      for (size_t t = 0; t < length; t++) {
        std::vector<double> state = states.back(), out, error;
        Token(c, in, first + t, h).apply(state, out, error);
        for (size_t j = 0; j < value; j++) {
          expected.errors[(first + t) * c.values() + h * value + j] = static_cast<float>(error[j]);
        }
        states.push_back(state);
        errors.push_back(error);
      }
      std::vector<double> by_state(c.state());
      for (size_t t = length; t-- > 0;) {
        const Token token(c, in, first + t, h);
        const float* const by_out = gradient.data() + (first + t) * c.values() + h * value;
        std::vector<double> by_query(key), by_key(key), by_written(value);
        const double share = std::exp(token.log_share);
        double by_rate = 0, by_share = 0;
        for (size_t i = 0; i < key; i++) {
          for (size_t j = 0; j < value; j++) {
            by_query[i] += states[t + 1][i * value + j] * check::wide(by_out[j]);
            by_state[i * value + j] += token.query[i] * check::wide(by_out[j]);
            by_written[j] += by_state[i * value + j] * token.key[i];
          }
        }
        double* const row = expected.heads.data() + (first + t) * c.all();
        for (size_t j = 0; j < value; j++) {
          by_rate += by_written[j] * errors[t][j];
          row[c.value_of(h) + j] += token.rate * by_written[j];
        }
        for (size_t i = 0; i < key; i++) {
          for (size_t j = 0; j < value; j++) {
            double& by = by_state[i * value + j];
            const double before = share * states[t][i * value + j];
            by_key[i] += token.rate * (by * errors[t][j] - before * by_written[j]);
            by -= token.key[i] * token.rate * by_written[j];
            by_share += by * before;
            by *= share;
          }
        }
        add_through_unit(token.query, by_query, token.query_length, 1 / static_cast<double>(c.key), row + c.query_of(h));
        add_through_unit(token.key, by_key, token.key_length, 1, row + c.key_of(h));
        const size_t scalar = (first + t) * count + h;
        expected.rate[scalar] = by_rate * token.rate * (1 - token.rate);
        expected.decay[scalar] = by_share * token.slope;
        expected.log_decay[scalar] = by_share * token.log_share;
      }
    }
  }
  return expected;
}

// With so many heads of keys in a launch.
void run(const Case& c, int launched, size_t shift) {
  const Inputs in(c);
  const std::vector<float> gradients = check::random<float>(in.tokens() * c.values());
  const Expected expected = differentiate(c, in, gradients);
  const int group = static_cast<int>(c.group());
  check::Buffer<float> heads(in.heads, shift), decay(in.decay, shift), rate(in.rate, shift);
  check::Buffer<float> log_decay(in.log_decay, shift), decay_bias(in.decay_bias, shift);
  check::Buffer<float> errors(expected.errors, shift), gradient(gradients, shift);
  check::Buffer<float> by_heads(in.heads.size(), shift), by_decay(in.decay.size(), shift);
  check::Buffer<float> by_rate(in.decay.size(), shift), by_log_decay(in.decay.size(), shift);
  check::Buffer<int32_t> offsets(in.offsets);
  const auto tokens = static_cast<int64_t>(in.tokens());
  const auto sequences = static_cast<unsigned>(c.sequences());
  for (int first = 0; first < c.key_heads; first += launched) {
    const int key_heads = std::min(launched, c.key_heads - first);
    const auto value_heads = static_cast<unsigned>(key_heads * group);
    const size_t sums = in.tokens() * value_heads;
    check::Buffer<float> by_queries(sums * static_cast<size_t>(c.key)), by_keys(sums * static_cast<size_t>(c.key));
    check::Buffer<float> terms(sums);
    auto sweep = [&](const std::string& name, auto* to_heads, float* to) {
      check::launch("laco_gated_delta_gradient_" + name + "_f32_v1", dim3(value_heads, sequences), 256, 0,
                    static_cast<const float*>(heads.data()), static_cast<const float*>(decay.data()),
                    static_cast<const float*>(rate.data()), static_cast<const float*>(log_decay.data()),
                    static_cast<const float*>(decay_bias.data()), static_cast<const float*>(errors.data()),
                    static_cast<const float*>(gradient.data()), static_cast<const int32_t*>(offsets.data()), to_heads, to,
                    by_keys.data(), terms.data(), first * group, c.key_heads, c.value_heads, c.key, c.value);
    };
    sweep("values", by_heads.data(), by_rate.data());
    sweep("keys", static_cast<const float*>(by_heads.data()), by_queries.data());
    check::launch("laco_gated_delta_gradient_heads_f32_v1", static_cast<unsigned>((tokens * key_heads + 7) / 8), 256, 0,
                  static_cast<const float*>(heads.data()), static_cast<const float*>(by_queries.data()),
                  static_cast<const float*>(by_keys.data()), by_heads.data(), tokens, first, key_heads,
                  c.key_heads, c.value_heads, c.key, c.value);
    check::launch("laco_gated_delta_gradient_decays_f32_v1", dim3((value_heads + 7) / 8, sequences), 256, 0,
                  static_cast<const float*>(terms.data()), static_cast<const float*>(decay.data()),
                  static_cast<const float*>(log_decay.data()), static_cast<const float*>(decay_bias.data()),
                  static_cast<const int32_t*>(offsets.data()), by_decay.data(), by_log_decay.data(), first * group,
                  static_cast<int32_t>(value_heads), c.value_heads);
  }
  check_all(by_heads, expected.heads, c.words() + ", by heads");
  check_all(by_rate, expected.rate, c.words() + ", by rates");
  check_all(by_decay, expected.decay, c.words() + ", by decays");
  check_all(by_log_decay, expected.log_decay, c.words() + ", by logarithms of decays");
}

}  // namespace

TEST(gated_delta_gradient_of_every_width) {
  const std::vector<int> lengths = {7, 1, 10}, none = {0, 0, 0};
  size_t shift = 0;
  for (int key : {1, 4, 33, 128, 256}) {
    for (int value : {1, 16, 70, 140}) {
      run({1, 2, key, value, lengths, none}, 1, shift);
      shift = 1 - shift;
    }
  }
  run({3, 9, 30, 40, {70, 3}, {0, 0}}, 2, 1);
}
