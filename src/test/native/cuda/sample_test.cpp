// sample.cu against the definition in f64.
#include "check.hpp"

namespace {

void run(size_t rows, size_t columns, float factor, size_t shift = 0) {
  std::vector<float> logits = check::random<float>(rows * columns, 3);
  std::vector<double> shares;
  for (size_t i = 0; i < logits.size(); i += 4) {
    logits[i] = -INFINITY;
  }
  for (size_t r = 0; r < rows; r++) {
    shares.push_back(r == 0 ? 0 : r == 1 ? 0.999999999 : std::uniform_real_distribution<double>()(check::generator()));
  }
  check::Buffer<float> device(logits, shift);
  check::Buffer<double> device_shares(shares), parts(rows * ((columns + 1023) / 1024));
  check::Buffer<int32_t> tokens(rows);
  check::launch("laco_sample_f32_v1", static_cast<unsigned>(rows), 1024, 0, static_cast<const float*>(device.data()),
                static_cast<const double*>(device_shares.data()), parts.data(), tokens.data(),
                static_cast<int64_t>(columns), factor);
  for (size_t r = 0; r < rows; r++) {
    const std::string what = "row " + std::to_string(r) + " of " + std::to_string(columns) + " columns";
    const float* row = logits.data() + r * columns;
    size_t best = 0;
    for (size_t c = 1; c < columns; c++) {
      best = row[c] > row[best] ? c : best;
    }
    CHECK_THAT(tokens[r] >= 0 && tokens[r] < static_cast<int32_t>(columns), what);
    const auto token = static_cast<size_t>(tokens[r]);
    if (factor == 0 || row[best] == -INFINITY) {
      CHECK_THAT(token == best, what);
      continue;
    }
    double before = 0, total = 0;
    for (size_t c = 0; c < columns; c++) {
      const double weight = std::exp(check::wide(factor) * (check::wide(row[c]) - check::wide(row[best])));
      total += weight;
      before += c < token ? weight : 0;
    }
    const double weight = std::exp(check::wide(factor) * (check::wide(row[token]) - check::wide(row[best])));
    CHECK_THAT(weight > 0, what);
    CHECK_THAT(before / total <= shares[r] + 1e-6, what);
    CHECK_THAT((before + weight) / total > shares[r] - 1e-6, what);
  }
}

}  // namespace

TEST(sample_takes_every_vocabulary) {
  for (size_t columns : {1, 2, 31, 32, 33, 1023, 1024, 1025, 2100, 33000}) {
    for (float factor : {0.0f, 1.0f, 2.5f}) {
      run(4, columns, factor);
      run(3, columns, factor, 1);
    }
  }
}

TEST(sample_finds_the_first_of_the_largest) {
  std::vector<float> logits(3 * 2000);
  logits[1999] = logits[1300] = logits[1301] = 1;
  for (size_t c = 0; c < 2000; c++) {
    logits[2000 + c] = NAN;
    logits[4000 + c] = c == 1500 ? -1e30f : -INFINITY;
  }
  check::Buffer<float> device(logits);
  check::Buffer<double> shares(std::vector<double>{0, 0, 0}), parts(6);
  check::Buffer<int32_t> tokens(3);
  for (float factor : {0.0f, 1e6f}) {
    check::launch("laco_sample_f32_v1", 3, 1024, 0, static_cast<const float*>(device.data()),
                  static_cast<const double*>(shares.data()), parts.data(), tokens.data(), int64_t{2000}, factor);
    CHECK(tokens[0] == 1300);
    CHECK(tokens[1] >= 0 && tokens[1] < 2000);
    CHECK(tokens[2] == 1500);
  }
}
