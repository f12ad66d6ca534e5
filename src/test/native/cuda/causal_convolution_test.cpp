// causal_convolution.cu against sums in f64.
#include <algorithm>

#include "check.hpp"

namespace {

struct Case {
  int columns, width;
  std::vector<int> lengths, past;
  int run;  // tokens of a block

  int sequences() const { return static_cast<int>(lengths.size()); }
  int tokens() const { return offsets().back(); }
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> sums = {0};
    for (int length : lengths) {
      sums.push_back(sums.back() + length);
    }
    return sums;
  }
  std::string words() const {
    return std::to_string(columns) + " columns, width " + std::to_string(width) + ", " + std::to_string(tokens()) + " tokens";
  }
};

constexpr int kCapacity = 7;

unsigned blocks(int columns) { return static_cast<unsigned>((columns + 255) / 256); }

void run(const Case& c, bool with_states, size_t shift) {
  const auto columns = static_cast<size_t>(c.columns), width = static_cast<size_t>(c.width);
  const std::vector<int32_t> offsets = c.offsets();
  std::vector<int32_t> key_offsets;
  for (int s = 0; s < c.sequences(); s++) {
    key_offsets.push_back((2 * s + 1) * kCapacity + s % kCapacity);
  }
  const size_t slots = 2 * c.lengths.size() + 1;
  std::vector<float> values = check::random<float>(static_cast<size_t>(c.tokens()) * columns);
  values[values.size() / 2] = NAN;
  const std::vector<float> weights = check::random<float>(columns * width);
  const std::vector<float> old = check::random<float>(slots * (width - 1) * columns);
  check::Buffer<float> x(values, shift), weight(weights, shift), states(old, shift), out(values.size(), shift);
  check::Buffer<int32_t> at(offsets), past(c.past), keys(key_offsets);
  const int longest = *std::max_element(c.lengths.begin(), c.lengths.end());
  check::launch("laco_causal_convolution_f32_v1",
                dim3(blocks(c.columns), static_cast<unsigned>((longest + c.run - 1) / c.run),
                     static_cast<unsigned>(c.sequences())),
                256, 0, static_cast<const float*>(x.data()), static_cast<const float*>(weight.data()),
                static_cast<const int32_t*>(at.data()), static_cast<const int32_t*>(past.data()),
                static_cast<const int32_t*>(keys.data()), with_states ? states.data() : nullptr, out.data(),
                static_cast<int64_t>(c.columns), c.width, kCapacity, c.run);

  std::vector<float> expected_states = old;
  for (size_t s = 0; s < c.lengths.size(); s++) {
    const size_t slot = 2 * s + 1, before = width - 1;
    // All rows of the sequence, with those of earlier tokens in front.
    std::vector<float> rows(before * columns);
    if (with_states && c.past[s] > 0) {
      std::copy_n(old.begin() + static_cast<long>(slot * before * columns), before * columns, rows.begin());
    }
    rows.insert(rows.end(), values.begin() + offsets[s] * static_cast<long>(columns),
                values.begin() + offsets[s + 1] * static_cast<long>(columns));
    for (size_t t = 0; t < static_cast<size_t>(c.lengths[s]); t++) {
      for (size_t column = 0; column < columns; column++) {
        double sum = 0, magnitude = 0;
        for (size_t i = 0; i < width; i++) {
          const double product = check::wide(weights[column * width + i]) * check::wide(rows[(t + i) * columns + column]);
          sum += product;
          magnitude += std::abs(product);
        }
        CHECK_CLOSE(check::wide(out[(static_cast<size_t>(offsets[s]) + t) * columns + column]), sum, 1e-6 * magnitude,
                    c.words() + ", token " + std::to_string(t) + " of sequence " + std::to_string(s));
      }
    }
    if (with_states) {
      std::copy(rows.end() - static_cast<long>(before * columns), rows.end(),
                expected_states.begin() + static_cast<long>(slot * before * columns));
    }
  }
  for (size_t i = 0; i < old.size(); i++) {
    CHECK_CLOSE(check::wide(states[i]), check::wide(expected_states[i]), 0, c.words() + ", states");
  }
}

void run_gradient(const Case& c, int part, bool by_weight, size_t shift) {
  const auto columns = static_cast<size_t>(c.columns), width = static_cast<size_t>(c.width);
  const auto tokens = static_cast<size_t>(c.tokens());
  const size_t parts = (tokens + static_cast<size_t>(part) - 1) / static_cast<size_t>(part);
  const std::vector<int32_t> offsets = c.offsets();
  const std::vector<float> values = check::random<float>(tokens * columns), by_out = check::random<float>(tokens * columns);
  const std::vector<float> weights = check::random<float>(columns * width);
  check::Buffer<float> x(values, shift), weight(weights, shift), gradient(by_out, shift), out(values.size(), shift);
  check::Buffer<float> sums(parts * columns * width, shift);
  check::Buffer<int32_t> at(offsets);
  check::launch("laco_causal_convolution_gradient_f32_v1", dim3(blocks(c.columns), static_cast<unsigned>(parts)), 256, 0,
                static_cast<const float*>(x.data()), static_cast<const float*>(weight.data()),
                static_cast<const int32_t*>(at.data()), static_cast<const float*>(gradient.data()),
                by_weight ? sums.data() : nullptr, out.data(), static_cast<int64_t>(c.columns), c.width, c.sequences(), part);
  std::vector<double> expected(parts * columns * width), magnitudes(expected.size());
  for (size_t s = 0; s < c.lengths.size(); s++) {
    for (auto t = static_cast<size_t>(offsets[s]); t < static_cast<size_t>(offsets[s + 1]); t++) {
      for (size_t column = 0; column < columns; column++) {
        double sum = 0, magnitude = 0;
        for (size_t i = 0; i < width; i++) {
          const size_t row = t + width - 1 - i;
          if (row < static_cast<size_t>(offsets[s + 1])) {
            const double by = check::wide(by_out[row * columns + column]);
            const double term = check::wide(weights[column * width + i]) * by;
            sum += term;
            magnitude += std::abs(term);
            const size_t to = (t / static_cast<size_t>(part) * columns + column) * width + i;
            expected[to] += check::wide(values[t * columns + column]) * by;
            magnitudes[to] += std::abs(check::wide(values[t * columns + column]) * by);
          }
        }
        CHECK_CLOSE(check::wide(out[t * columns + column]), sum, 1e-6 * magnitude, c.words() + ", by x");
      }
    }
  }
  for (size_t i = 0; by_weight && i < expected.size(); i++) {
    CHECK_CLOSE(check::wide(sums[i]), expected[i], 1e-6 * magnitudes[i], c.words() + ", by weight");
  }
}

}  // namespace

TEST(causal_convolution_of_every_width) {
  for (int columns : {1, 33, 255, 257}) {
    for (int width : {1, 2, 3, 4, 5, 9}) {
      const size_t shift = static_cast<size_t>(width % 2);
      const int least = std::max(1, width - 1);
      const Case whole = {columns, width, {5, 1, 23}, {0, 0, 0}, std::max(16, least)};
      run(whole, false, shift);
      run(whole, true, shift);
      run({columns, width, {1, 2, 23, 3}, {1, 0, 9, 2}, least}, true, shift);
      for (int part : {1, 7, 16}) {
        run_gradient(whole, part, true, shift);
      }
      run_gradient(whole, 16, false, shift);
    }
  }
}
