// dampings.cu against the numbers in f64.
#include "check.hpp"

namespace {

void run(const std::vector<int64_t>& counts, unsigned threads) {
  const double beta = 0.95, factor = 3, correction = 0.25, least = 1e-12;
  std::vector<int64_t> ends, elements;
  for (int64_t count : counts) {
    ends.push_back((ends.empty() ? 0 : ends.back()) + count);
    elements.push_back(1000 * count - 3);
  }
  std::vector<double> parts(static_cast<size_t>(ends.back()));
  std::uniform_real_distribution<double> uniform(0, 1e30);
  for (double& part : parts) {
    part = uniform(check::generator());
  }
  std::vector<double> before(counts.size());
  std::vector<uint32_t> words(2 * counts.size());
  for (size_t i = 0; i < before.size(); i++) {
    before[i] = i == 1 ? NAN : uniform(check::generator());
    std::memcpy(&words[2 * i], &before[i], sizeof(double));
  }
  check::Buffer<double> device_parts(parts);
  check::Buffer<int64_t> device_ends(ends), device_elements(elements);
  check::Buffer<uint32_t> running(words, 1);
  check::Buffer<float> out(counts.size(), 1);
  check::launch("laco_dampings_f32_v1", static_cast<unsigned>(counts.size()), threads, 0,
                static_cast<const double*>(device_parts.data()), static_cast<const int64_t*>(device_ends.data()),
                static_cast<const int64_t*>(device_elements.data()), running.data(), out.data(), beta, 1 - beta, factor,
                correction, least);
  for (size_t i = 0; i < counts.size(); i++) {
    double sum = 0;
    for (int64_t part = ends[i] - counts[i]; part < ends[i]; part++) {
      sum += parts[static_cast<size_t>(part)];
    }
    const std::string what = "gradient " + std::to_string(i) + ", " + std::to_string(threads) + " threads";
    double now;
    std::memcpy(&now, running.data() + 2 * i, sizeof now);
    const double expected = beta * before[i] + (1 - beta) * (sum / static_cast<double>(elements[i]));
    CHECK_CLOSE(now, expected, 1e-13 * expected, what);
    CHECK_CLOSE(check::wide(out[i]), factor * std::sqrt(expected / correction) + least, 1e-7 * std::sqrt(expected) * 6,
                what);
  }
}

}  // namespace

TEST(dampings_take_any_number_of_parts) {
  for (unsigned threads : {32, 64, 256}) {
    run({1, 1, 128}, threads);
    run({31, 33, 257, 1000, 1}, threads);
  }
}
