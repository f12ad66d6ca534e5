// What the tests of the gated delta rule share: inputs, and the rule in f64.
#pragma once

#include <algorithm>

#include "check.hpp"

namespace delta {

constexpr int kCapacity = 50;

struct Case {
  int key_heads, value_heads, key, value;
  std::vector<int> lengths, past;

  int sequences() const { return static_cast<int>(lengths.size()); }
  size_t group() const { return static_cast<size_t>(value_heads / key_heads); }
  size_t all() const { return static_cast<size_t>(2 * key_heads * key + value_heads * value); }
  size_t values() const { return static_cast<size_t>(value_heads * value); }
  size_t state() const { return static_cast<size_t>(key * value); }
  size_t query_of(size_t h) const { return h / group() * static_cast<size_t>(key); }
  size_t key_of(size_t h) const { return static_cast<size_t>(key_heads * key) + query_of(h); }
  size_t value_of(size_t h) const { return static_cast<size_t>(2 * key_heads * key) + h * static_cast<size_t>(value); }
  std::string words() const {
    return std::to_string(key_heads) + "/" + std::to_string(value_heads) + " heads of " + std::to_string(key) + "/" +
           std::to_string(value);
  }
};

struct Inputs {
  std::vector<int32_t> offsets = {0}, key_offsets;
  std::vector<float> heads, decay, rate, log_decay, decay_bias, states;

  explicit Inputs(const Case& c) {
    for (size_t s = 0; s < c.lengths.size(); s++) {
      offsets.push_back(offsets.back() + c.lengths[s]);
      key_offsets.push_back(static_cast<int32_t>(2 * s + 1) * kCapacity);
    }
    const auto count = static_cast<size_t>(c.value_heads);
    heads = check::random<float>(tokens() * c.all());
    decay = check::random<float>(tokens() * count, 0.5);
    rate = check::random<float>(tokens() * count);
    // As models have them: of shares far below 1 the relative error would be that of a large logarithm, absolute.
    log_decay = check::random<float>(count, 0.3);
    decay_bias = check::random<float>(count, 0.5);
    states = check::random<float>((2 * c.lengths.size() + 1) * count * c.state());
  }
  size_t tokens() const { return static_cast<size_t>(offsets.back()); }
};

// A token of a head in f64: unit query and key, value, logarithm of the share that is kept, rate.
struct Token {
  std::vector<double> query, key, value;
  double query_length, key_length, log_share, slope, rate;

  Token(const Case& c, const Inputs& in, size_t t, size_t h) {
    const float* const row = in.heads.data() + t * c.all();
    const auto width = static_cast<size_t>(c.key);
    query_length = unit(row + c.query_of(h), width, query) * std::sqrt(c.key);
    for (double& q : query) {
      q /= std::sqrt(c.key);
    }
    key_length = unit(row + c.key_of(h), width, key);
    value.assign(row + c.value_of(h), row + c.value_of(h) + c.value);
    const size_t scalar = t * static_cast<size_t>(c.value_heads) + h;
    const double x = check::wide(in.decay[scalar]) + check::wide(in.decay_bias[h]);
    const double speed = std::exp(check::wide(in.log_decay[h]));
    log_share = -speed * std::log1p(std::exp(x));
    slope = -speed / (1 + std::exp(-x));
    rate = 1 / (1 + std::exp(-check::wide(in.rate[scalar])));
  }

  // What the rule does with a state [key, value]; the result and the error.
  void apply(std::vector<double>& state, std::vector<double>& out, std::vector<double>& error) const {
    const size_t width = value.size();
    error = value;
    out.assign(width, 0);
    for (size_t i = 0; i < key.size(); i++) {
      for (size_t j = 0; j < width; j++) {
        state[i * width + j] *= std::exp(log_share);
        error[j] -= state[i * width + j] * key[i];
      }
    }
    for (size_t i = 0; i < key.size(); i++) {
      for (size_t j = 0; j < width; j++) {
        state[i * width + j] += rate * key[i] * error[j];
        out[j] += state[i * width + j] * query[i];
      }
    }
  }

 private:
  static double unit(const float* from, size_t width, std::vector<double>& to) {
    double squares = 1e-6;
    for (size_t i = 0; i < width; i++) {
      squares += check::wide(from[i]) * check::wide(from[i]);
    }
    for (size_t i = 0; i < width; i++) {
      to.push_back(check::wide(from[i]) / std::sqrt(squares));
    }
    return std::sqrt(squares);
  }
};

// Compares with a tolerance of the largest.
inline void check_all(check::Buffer<float>& actual, const std::vector<double>& expected, const std::string& what) {
  double largest = 0;
  for (double value : expected) {
    largest = std::max(largest, std::abs(value));
  }
  for (size_t i = 0; i < expected.size(); i++) {
    CHECK_CLOSE(check::wide(actual[i]), expected[i], 5e-6 * largest, what + ", element " + std::to_string(i));
  }
}

}  // namespace delta
