// The shapes and inputs of attention, for the tests of the kernels of attention and of its gradient.
#pragma once

#include <limits>

#include "check.hpp"

namespace attention {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Case {
  int heads, key_heads, width;
  std::vector<int> lengths;
  std::vector<int> past = std::vector<int>(lengths.size());
  int window = 0;
  float soft_cap = 0;
  bool alibi = false;
  float scale = 0;  // 0 stands for 1 / sqrt(width)
  bool sinks = false;
  size_t shift[4] = {};  // of q, k, v and out from an aligned address, in elements

  int group() const { return heads / key_heads; }
  int query_stride() const { return heads * width; }
  int key_stride() const { return key_heads * width; }

  std::string words() const {
    std::string all = std::to_string(heads) + "/" + std::to_string(key_heads) + " heads of " +
                      std::to_string(width) + ", window " + std::to_string(window) + ", soft-cap " +
                      std::to_string(soft_cap) + (alibi ? ", alibi" : "") + (sinks ? ", sinks" : "") +
                      ", shifts";
    for (size_t one : shift) {
      all += " " + std::to_string(one);
    }
    all += ", lengths";
    for (size_t s = 0; s < lengths.size(); s++) {
      all += " " + std::to_string(past[s]) + "+" + std::to_string(lengths[s]);
    }
    return all;
  }
};

struct Inputs {
  std::vector<float> query, key, value, slopes, sinks;
  std::vector<int32_t> offsets{0}, key_offsets{0};
  float scale;

  explicit Inputs(const Case& c, double query_deviation = 1) {
    for (size_t s = 0; s < c.lengths.size(); s++) {
      offsets.push_back(offsets.back() + c.lengths[s]);
      key_offsets.push_back(key_offsets.back() + c.past[s] + c.lengths[s]);
    }
    query = check::random<float>(static_cast<size_t>(offsets.back() * c.query_stride()), query_deviation);
    key = check::random<float>(static_cast<size_t>(key_offsets.back() * c.key_stride()));
    value = check::random<float>(key.size());
    for (int h = 0; h < c.heads; h++) {
      slopes.push_back(static_cast<float>(std::exp2(-8.0 * (h + 1) / c.heads)));
      sinks.push_back(h % 3 == 2 ? -3e38f : static_cast<float>(h % 2 == 0 ? 2 + h : -1));
    }
    scale = c.scale != 0 ? c.scale : static_cast<float>(1 / std::sqrt(static_cast<double>(c.width)));
  }

  // Index of the first element of key-value head `head` at a position of sequence s.
  size_t key_row(const Case& c, int s, int position, int head) const {
    return static_cast<size_t>((key_offsets[static_cast<size_t>(s)] + position) * c.key_stride() +
                               head * c.width);
  }
};

}  // namespace attention
