// squares.cu against sums in f64.
#include "check.hpp"

#include <deque>

namespace {

// The layout of SquaresJob in squares.cu.
struct SquaresJob {
  int64_t elements;
  int64_t first_block;
  const float* x;
  int64_t parts;
};

struct Summed {
  size_t elements;
  size_t parts;
  size_t shift;
};

void run(const std::vector<Summed>& tensors) {
  std::deque<check::Buffer<float>> buffers;
  std::vector<std::vector<float>> values;
  std::vector<SquaresJob> jobs;
  int64_t blocks = 0;
  for (const Summed& tensor : tensors) {
    values.push_back(check::random<float>(tensor.elements));
    buffers.emplace_back(values.back(), tensor.shift);
    jobs.push_back({static_cast<int64_t>(tensor.elements), blocks, buffers.back().data(),
                    static_cast<int64_t>(tensor.parts)});
    blocks += static_cast<int64_t>(tensor.parts);
  }
  check::Buffer<SquaresJob> table(jobs);
  check::Buffer<double> partial(static_cast<size_t>(blocks));
  check::launch("laco_squares_f32_v1", static_cast<unsigned>(blocks), 256, 0,
                static_cast<const SquaresJob*>(table.data()), static_cast<int32_t>(jobs.size()), partial.data());
  size_t part = 0;
  for (size_t i = 0; i < tensors.size(); i++) {
    double expected = 0, sum = 0;
    for (float x : values[i]) {
      expected += check::wide(x) * check::wide(x);
    }
    for (size_t k = 0; k < tensors[i].parts; k++) {
      sum += partial[part++];
    }
    CHECK_CLOSE(sum, expected, 1e-6 * expected,
                std::to_string(tensors[i].elements) + " elements in " + std::to_string(tensors[i].parts) + " parts");
  }
}

}  // namespace

TEST(squares_take_every_length_and_alignment) {
  for (size_t n : {1, 3, 4, 31, 1024, 4095, 4096, 4097, 20001}) {
    for (size_t parts : {1, 2, 5}) {
      for (size_t shift : {0, 1}) {
        run({{n, parts, shift}});
      }
    }
  }
}

TEST(squares_take_many_tensors) {
  run({{5, 1, 0}, {8192, 2, 0}, {1, 1, 1}, {30000, 8, 3}, {7, 3, 0}, {4096, 1, 1}});
}
