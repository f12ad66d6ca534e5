// cosine.cu against plain loops in f64.
#include <memory>
#include <numeric>

#include "check.hpp"

namespace {

// Error of the kernels' f32 partial sums, relative to the sum of the products' magnitudes.
constexpr double kTolerance = 1e-6;

struct Sums {
  double product = 0;
  double magnitude = 0;
};

// The dot product of rows `from` to `to - 1` of two matrices.
Sums plain_dot(const std::vector<float>& a, const std::vector<float>& b, int from, int to, int columns) {
  Sums sums;
  for (size_t i = static_cast<size_t>(from * columns); i < static_cast<size_t>(to * columns); i++) {
    const double product = check::wide(a[i]) * check::wide(b[i]);
    sums.product += product;
    sums.magnitude += std::abs(product);
  }
  return sums;
}

// Offsets of packed sequences of these lengths.
std::vector<int32_t> offsets_of(const std::vector<int>& lengths) {
  std::vector<int32_t> offsets = {0};
  for (int length : lengths) {
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

class States {
 public:
  States(size_t count, const std::vector<int>& lengths, int columns)
      : offsets(offsets_of(lengths)), columns_(columns) {
    for (size_t k = 0; k < count; k++) {
      values.push_back(check::random<float>(static_cast<size_t>(offsets.back() * columns)));
    }
    upload();
  }

  // Copies the tensors to the device; tensor `shifted` is misaligned by `shift` elements.
  void upload(size_t shifted = 0, size_t shift = 0) {
    memory_.clear();
    std::vector<const float*> table;
    for (const auto& one : values) {
      const bool here = memory_.size() == shifted;
      memory_.push_back(std::make_unique<check::Buffer<float>>(one, here ? shift : 0));
      table.push_back(memory_.back()->data());
    }
    table_ = std::make_unique<check::Buffer<const float*>>(table);
  }

  int sequences() const { return static_cast<int>(offsets.size()) - 1; }

  // Sums for every tensor but the last, each against the last: [candidate, sequence, 3], summed over parts.
  std::vector<double> against_last(unsigned parts) {
    const size_t candidates = values.size() - 1;
    const size_t rows = candidates * static_cast<size_t>(sequences());
    check::Buffer<double> partial(rows * parts * 3);
    check::Buffer<int32_t> bounds(offsets);
    check::launch("laco_cosine_f32_v2",
                  {static_cast<unsigned>(candidates), parts, static_cast<unsigned>(sequences())}, 256, 0,
                  static_cast<const float* const*>(table_->data()),
                  static_cast<const float*>(memory_.back()->data()),
                  static_cast<const int32_t*>(bounds.data()), partial.data(),
                  static_cast<int64_t>(columns_), static_cast<int32_t>(sequences()));
    std::vector<double> sums(rows * 3);
    for (size_t r = 0; r < rows; r++) {
      for (size_t part = 0; part < parts; part++) {
        for (size_t k = 0; k < 3; k++) {
          sums[r * 3 + k] += partial[(r * parts + part) * 3 + k];
        }
      }
    }
    return sums;
  }

  void check_against_last(unsigned parts, const std::string& what) {
    const std::vector<double> sums = against_last(parts);
    for (size_t c = 0; c + 1 < values.size(); c++) {
      for (size_t s = 0; s + 1 < offsets.size(); s++) {
        const std::vector<float>*const pairs[3][2] = {{&values[c], &values.back()},
                                                      {&values[c], &values[c]},
                                                      {&values.back(), &values.back()}};
        for (size_t k = 0; k < 3; k++) {
          const Sums expected = plain_dot(*pairs[k][0], *pairs[k][1], offsets[s], offsets[s + 1], columns_);
          CHECK_CLOSE(sums[(c * (offsets.size() - 1) + s) * 3 + k], expected.product,
                      kTolerance * expected.magnitude,
                      what + ", candidate " + std::to_string(c) + ", sequence " + std::to_string(s) + ", sum " +
                          std::to_string(k));
        }
      }
    }
  }

  // Dot products of all pairs of tensors i <= j: [sequence, i, j, parts].
  std::vector<double> pairs(unsigned parts) {
    const size_t count = values.size();
    const unsigned tiles = static_cast<unsigned>(count + 3) / 4;
    check::Buffer<double> partial(static_cast<size_t>(sequences()) * count * count * parts);
    check::Buffer<int32_t> bounds(offsets);
    check::launch("laco_cosine_pairs_f32_v2",
                  {tiles * (tiles + 1) / 2, parts, static_cast<unsigned>(sequences())}, 256, 0,
                  static_cast<const float* const*>(table_->data()),
                  static_cast<const int32_t*>(bounds.data()), partial.data(),
                  static_cast<int64_t>(columns_), static_cast<int32_t>(count));
    return partial.values();
  }

  void check_pairs(unsigned parts, const std::string& what) {
    const std::vector<double> partial = pairs(parts);
    const size_t count = values.size();
    for (size_t s = 0; s + 1 < offsets.size(); s++) {
      for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
          const double* from = &partial[((s * count + i) * count + j) * parts];
          if (i > j) {
            CHECK(std::isnan(from[0]));  // nothing is written below the diagonal
            continue;
          }
          const Sums expected = plain_dot(values[i], values[j], offsets[s], offsets[s + 1], columns_);
          CHECK_CLOSE(std::accumulate(from, from + parts, 0.0), expected.product,
                      kTolerance * expected.magnitude,
                      what + ", pair " + std::to_string(i) + ", " + std::to_string(j) + ", sequence " +
                          std::to_string(s));
        }
      }
    }
  }

  std::vector<int32_t> offsets;
  std::vector<std::vector<float>> values;

 private:
  int columns_;
  std::vector<std::unique_ptr<check::Buffer<float>>> memory_;
  std::unique_ptr<check::Buffer<const float*>> table_;
};

}  // namespace

TEST(cosine_takes_every_width) {
  for (int columns : {1, 7, 31, 32, 33, 127, 257, 4096}) {
    States states(3, {1, 5, 2}, columns);
    states.check_against_last(2, std::to_string(columns) + " columns");
  }
}

TEST(cosine_takes_every_number_of_parts) {
  States states(2, {1, 3, 40}, 132);
  for (unsigned parts : {1u, 2u, 3u, 7u, 64u, 200u}) {
    states.check_against_last(parts, std::to_string(parts) + " parts");
  }
}

TEST(cosine_takes_unaligned_states) {
  States states(6, {3, 4}, 300);
  for (size_t shifted = 0; shifted < 6; shifted++) {
    states.upload(shifted, shifted % 3 + 1);
    states.check_against_last(3, "tensor " + std::to_string(shifted) + " shifted");
    states.check_pairs(3, "tensor " + std::to_string(shifted) + " shifted");
  }
}

TEST(cosine_keeps_nan_and_infinity_in_their_sequence) {
  States states(3, {2, 3, 2}, 64);
  states.values[0][4 * 64 + 5] = NAN;
  states.values[1][5 * 64] = INFINITY;
  states.upload();
  states.check_against_last(2, "with NaN");
  states.check_pairs(2, "with NaN");
}

TEST(cosine_adds_long_sequences_in_f64) {
  States states(2, {6000}, 256);
  for (auto& one : states.values) {
    for (float& x : one) {
      x = 1;  // in f32 the sum would stop growing at 2^24, or err by its last bits before
    }
  }
  states.values[0][17] = 0x1p-20f;
  states.upload();
  const double ab = states.against_last(1)[0];
  CHECK(ab == 6000 * 256 - 1 + 0x1p-20);
}

TEST(cosine_of_all_pairs_takes_every_number_of_states) {
  for (size_t count : {1, 2, 3, 4, 5, 8, 9, 13}) {
    States states(count, {2, 5}, 33);
    states.check_pairs(1, std::to_string(count) + " states");
    States wide(count, {3}, 4096);
    wide.check_pairs(2, std::to_string(count) + " wide states");
  }
}

TEST(cosine_gives_the_same_bits_in_every_order_of_threads) {
  States states(6, {9, 14}, 516);
  const std::vector<double> sums = states.against_last(3);
  const std::vector<double> pairs = states.pairs(3);
  for (uint64_t seed = 1; seed < 6; seed++) {
    simt::set_seed(seed);
    CHECK(states.against_last(3) == sums);
    const std::vector<double> again = states.pairs(3);
    CHECK(std::memcmp(again.data(), pairs.data(), pairs.size() * sizeof(double)) == 0);
  }
  const char* seed = std::getenv("SIMT_SEED");
  simt::set_seed(seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10));
}
