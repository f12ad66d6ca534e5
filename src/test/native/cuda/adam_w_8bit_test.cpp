// adam_w_8bit.cu against the step in f64.
#include "adam_w_check.hpp"

namespace {

constexpr size_t kBlock = 256, kRow = 130;
constexpr size_t kTensors = 4;  // gradient, moments, master and weight

// What a code stands for, relative to the scale of its block.
double value(unsigned code, int bits) {
  const unsigned magnitude = code & ((1u << bits) - 1);
  if (magnitude == 0) {
    return 0;
  }
  int e = 0;
  while (magnitude >> e > 1) {
    e++;
  }
  const double share = std::ldexp(magnitude + 0.5, -e) - 1;
  return (code == magnitude ? 1 : -1) * std::pow(10, e - bits + 1) * (0.1 + 0.9 * share);
}

unsigned code(const uint32_t* row, bool squares, size_t k) {
  return row[2 + (squares ? kBlock / 4 : 0) + k / 4] >> (8 * (k % 4)) & 255;
}

// A number of [0, 1] gets the code whose part of a decade it lies in: half a part from its value at most. A square
// below the lowest decade gets the least code that is not 0.
double part(double share, int bits) {
  const int e = std::max(0, std::min(bits - 1, bits + static_cast<int>(std::floor(std::log10(share)))));
  const double half = 0.46 * std::pow(10, e - bits + 1) * std::ldexp(1.0, -e);
  return share < std::pow(10, -bits) ? 0.56 * std::pow(10, 1 - bits) : half;
}

// A tensor that a step moves, as it was before the step and as it is on the device.
template <class W>
struct Moved {
  static constexpr float kEpsilon = 1e-8f;

  bool masters;
  size_t n, blocks;
  std::vector<float> gradient, master;
  std::vector<uint32_t> moments;
  std::vector<W> before;
  check::Buffer<float> device_gradient, device_master;
  check::Buffer<uint32_t> device_moments;
  check::Buffer<W> weight;

  Moved(size_t elements, bool has_masters, const size_t (&shifts)[kTensors] = {})
      : masters(has_masters),
        n(elements),
        blocks((n + kBlock - 1) / kBlock),
        gradient(of_many_sizes(check::random<float>(n))),
        master(check::random<float>(n)),
        moments(random_moments(n, blocks)),
        before(check::random<W>(n)),
        device_gradient(gradient, shifts[0]),
        device_master(master, shifts[2]),
        device_moments(moments, shifts[1]),
        weight(before, shifts[3]) {}

  static std::vector<float> of_many_sizes(std::vector<float> values) {
    for (size_t i = 0; i < values.size(); i++) {
      values[i] *= static_cast<float>(std::pow(10, -static_cast<double>(i % 5)));
    }
    return values;
  }

  static std::vector<uint32_t> random_moments(size_t n, size_t blocks) {
    std::vector<uint32_t> moments(blocks * kRow);
    for (size_t i = 0; i < moments.size(); i++) {
      const float scale = i % kRow == 0 ? 0.5f : 2;
      moments[i] = i % kRow < 2 ? std::bit_cast<uint32_t>(scale) : static_cast<uint32_t>(check::generator()());
    }
    // Elements that the last block lacks are zeros.
    for (size_t k = n - (blocks - 1) * kBlock; k < kBlock; k++) {
      uint32_t* row = moments.data() + (blocks - 1) * kRow;
      row[2 + k / 4] &= ~(255u << (8 * (k % 4)));
      row[2 + kBlock / 4 + k / 4] &= ~(255u << (8 * (k % 4)));
    }
    return moments;
  }

  check::AdamJob job() {
    return {static_cast<int64_t>(n),
            0,
            device_gradient.data(),
            device_moments.data(),
            nullptr,
            masters ? device_master.data() : nullptr,
            weight.data(),
            nullptr,
            check::kKey,
            check::numbers(kEpsilon),
            0};
  }

  void check_step() {
    const std::string kernel = std::string("adam_w_8bit of ") + check::type_name<W>();
    for (size_t block = 0; block < blocks; block++) {
      const uint32_t* old_row = moments.data() + block * kRow;
      const uint32_t* row = device_moments.data() + block * kRow;
      std::vector<double> means(kBlock), squares(kBlock);
      double most_mean = 0, most_square = 0;
      for (size_t k = 0; k < kBlock && block * kBlock + k < n; k++) {
        const size_t i = block * kBlock + k;
        const std::string what = kernel + ", element " + std::to_string(i) + " of " + std::to_string(n);
        const double old_weight = masters ? check::wide(master[i]) : check::wide(before[i]);
        const check::AdamStep step(check::wide(gradient[i]), 0.5 * value(code(old_row, false, k), 7),
                                   2 * value(code(old_row, true, k), 8), old_weight, check::wide(kEpsilon));
        means[k] = step.mean;
        squares[k] = step.square;
        most_mean = std::max(most_mean, std::abs(step.mean));
        most_square = std::max(most_square, step.square);
        CHECK_CLOSE(check::wide(device_gradient[i]), 0.0, 0, what);
        if (masters) {
          CHECK_CLOSE(check::wide(device_master[i]), step.weight, 2e-6 * (1 + std::abs(step.moved)), what);
          CHECK_CLOSE(check::wide(weight[i]), check::wide(check::narrow<W>(check::wide(device_master[i]))), 0, what);
        } else {
          check::check_rounded(weight[i], step.weight, i, what);
        }
      }
      const std::string what = kernel + ", block " + std::to_string(block) + " of " + std::to_string(n);
      CHECK_CLOSE(check::wide(std::bit_cast<float>(row[0])), most_mean, 1e-6 * most_mean, what);
      CHECK_CLOSE(check::wide(std::bit_cast<float>(row[1])), most_square, 1e-6 * most_square, what);
      for (size_t k = 0; k < kBlock; k++) {
        const double mean = means[k] / most_mean, square = squares[k] / most_square;
        CHECK_CLOSE(value(code(row, false, k), 7), mean, part(std::abs(mean), 7), what + ", mean " + std::to_string(k));
        CHECK_CLOSE(value(code(row, true, k), 8), square, part(square, 8), what + ", square " + std::to_string(k));
        CHECK_CLOSE(code(row, true, k) == 0 ? 0.0 : 1.0, squares[k] == 0 ? 0.0 : 1.0, 0, what);
      }
    }
  }
};

template <class W>
void launch(std::deque<Moved<W>>& tensors) {
  check::take_step(std::string("laco_adam_w_8bit_") + check::type_name<W>() + "_v2", tensors, 8192);
}

template <class W, class... Arguments>
void run(size_t n, const Arguments&... arguments) {
  std::deque<Moved<W>> one;
  one.emplace_back(n, arguments...);
  launch(one);
}

}  // namespace

TEST(adam_w_8bit_takes_every_length_and_alignment) {
  for (bool masters : {true, false}) {
    for (size_t n : {1, 7, 255, 256, 257, 2048, 2049, 5001, 8192, 8193}) {
      run<float>(n, masters);
      run<__half>(n, masters);
      run<__nv_bfloat16>(n, masters);
    }
    for (size_t tensor = 0; tensor < kTensors; tensor++) {
      size_t shifts[kTensors] = {};
      shifts[tensor] = 1;
      run<float>(600, masters, shifts);
      run<__nv_bfloat16>(600, masters, shifts);
    }
  }
}

TEST(adam_w_8bit_takes_many_tensors) {
  for (size_t count : {2, 3, 8}) {
    std::deque<Moved<__nv_bfloat16>> tensors;
    for (size_t i = 0; i < count; i++) {
      tensors.emplace_back(i % 3 == 0 ? 5 + i : i % 3 == 1 ? 8192 * (i + 1) : 8191 + i, i % 3 != 0);
    }
    launch(tensors);
  }
}
