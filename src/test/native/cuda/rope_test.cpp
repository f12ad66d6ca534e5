// rope.cu against rotation and RMS norm of heads in f64.
#include "check.hpp"

namespace {

struct Case {
  int tokens;
  int heads;
  int head_dim;
  int pairs;
  size_t shift_x = 0;
  size_t shift_cosine = 0;
  size_t shift_sine = 0;
  size_t shift_weight = 0;
  size_t shift_out = 0;
};

std::string words(const Case& c) {
  return std::to_string(c.heads) + " heads of " + std::to_string(c.head_dim) + ", " + std::to_string(c.pairs) +
         " pairs";
}

struct Angles {
  std::vector<float> cosine;
  std::vector<float> sine;
};

Angles angles(const Case& c) {
  Angles result;
  for (int i = 0; i < c.tokens * c.pairs; i++) {
    const double angle = 0.37 * i;
    result.cosine.push_back(static_cast<float>(std::cos(angle)));
    result.sine.push_back(static_cast<float>(std::sin(angle)));
  }
  return result;
}

enum class Pairs { kHalves, kNeighbours };

void turn(double* head, const Case& c, const Angles& angles, int token, Pairs pairs, double direction) {
  for (int i = 0; i < c.pairs; i++) {
    const double cosine = check::wide(angles.cosine[static_cast<size_t>(token * c.pairs + i)]);
    const double sine = direction * check::wide(angles.sine[static_cast<size_t>(token * c.pairs + i)]);
    double& first = pairs == Pairs::kHalves ? head[i] : head[2 * i];
    double& second = pairs == Pairs::kHalves ? head[i + c.pairs] : head[2 * i + 1];
    const double a = first, b = second;
    first = a * cosine - b * sine;
    second = b * cosine + a * sine;
  }
}

template <class W>
void norm(double* head, const Case& c, const std::vector<W>& weight, double eps, double offset) {
  double squares = 0;
  for (int i = 0; i < c.head_dim; i++) {
    squares += head[i] * head[i];
  }
  const double root = std::sqrt(squares / c.head_dim + eps);
  for (int i = 0; i < c.head_dim; i++) {
    head[i] = (offset + check::wide(weight[static_cast<size_t>(i)])) * (head[i] / root);
  }
}

// Compares every head with its plain result: prepare(head), then the rotation, both in f64.
template <class To, class Function>
void compare(const Case& c, const std::vector<float>& before, const To* after, Function prepare,
             const std::string& what, Pairs pairs = Pairs::kHalves, double direction = 1) {
  const Angles turns = angles(c);
  std::vector<double> head(static_cast<size_t>(c.head_dim));
  for (int k = 0; k < c.tokens * c.heads; k++) {
    const size_t start = static_cast<size_t>(k * c.head_dim);
    for (size_t i = 0; i < head.size(); i++) {
      head[i] = check::wide(before[start + i]);
    }
    prepare(head.data());
    turn(head.data(), c, turns, k / c.heads, pairs, direction);
    for (size_t i = 0; i < head.size(); i++) {
      CHECK_CLOSE(check::wide(after[start + i]), head[i],
                  4e-6 * (1 + std::abs(head[i])) + check::kRounding<To> * std::abs(head[i]),
                  what + " " + words(c) + ", head " + std::to_string(k) + ", element " + std::to_string(i));
    }
  }
}

std::vector<float> states(const Case& c) {
  return check::random<float>(static_cast<size_t>(c.tokens * c.heads * c.head_dim));
}

// The memory of a result: in the place of x, or of its own and of any type.
template <class To>
struct Result {
  check::Buffer<To> own;
  To* data;

  Result(const Case& c, check::Buffer<float>& x, bool in_place) : own(x.size(), c.shift_out), data(own.data()) {
    if constexpr (sizeof(To) == sizeof(float)) {
      data = in_place ? x.data() : own.data();
    }
  }
};

template <class To = float>
void run_rope(const std::string& kernel, const Case& c, const std::vector<float>& x, Pairs pairs, bool in_place) {
  for (float direction : {1.0f, -1.0f}) {
    const Angles turns = angles(c);
    check::Buffer<float> device(x, c.shift_x), cosine(turns.cosine, c.shift_cosine), sine(turns.sine, c.shift_sine);
    Result<To> out(c, device, in_place);
    check::launch(kernel, static_cast<unsigned>(c.tokens), 256, 0, static_cast<const float*>(device.data()),
                  static_cast<const float*>(cosine.data()), static_cast<const float*>(sine.data()),
                  static_cast<void*>(out.data), c.heads, c.head_dim, c.pairs, direction, check::kCode<To>);
    compare(c, x, out.data, [](double*) {}, kernel, pairs, check::wide(direction));
  }
}

void run_rope(const Case& c, const std::vector<float>& x) {
  const std::string kernel = "laco_rope_f32_v1";
  run_rope(kernel, c, x, Pairs::kHalves, true);
  run_rope(kernel, c, x, Pairs::kHalves, false);
  run_rope<__half>(kernel, c, x, Pairs::kHalves, false);
  run_rope<__nv_bfloat16>(kernel, c, x, Pairs::kHalves, false);
}

void run_rope_neighbours(const Case& c, const std::vector<float>& x) {
  const std::string kernel = "laco_rope_neighbours_f32_v1";
  run_rope(kernel, c, x, Pairs::kNeighbours, true);
  run_rope(kernel, c, x, Pairs::kNeighbours, false);
  run_rope<__nv_bfloat16>(kernel, c, x, Pairs::kNeighbours, false);
}

template <class W, class To = float>
void run_norm_rope(const Case& c, const std::vector<float>& x, float offset, bool in_place = false) {
  const Angles turns = angles(c);
  const std::vector<W> weight = check::random<W>(static_cast<size_t>(c.head_dim));
  check::Buffer<float> device(x, c.shift_x), cosine(turns.cosine, c.shift_cosine), sine(turns.sine, c.shift_sine);
  check::Buffer<W> scale(weight, c.shift_weight);
  Result<To> out(c, device, in_place);
  const std::string kernel = std::string("laco_norm_rope_") + check::type_name<W>() + "_v1";
  check::launch(kernel, static_cast<unsigned>(c.tokens), 256, 0, static_cast<const float*>(device.data()),
                static_cast<const W*>(scale.data()), static_cast<const float*>(cosine.data()),
                static_cast<const float*>(sine.data()), static_cast<void*>(out.data), c.heads, c.head_dim, c.pairs,
                1e-6f, offset, check::kCode<To>);
  compare(c, x, out.data, [&](double* head) { norm(head, c, weight, 1e-6, check::wide(offset)); }, kernel);
}

void run(const Case& c) {
  run_rope(c, states(c));
  run_rope_neighbours(c, states(c));
  run_norm_rope<float>(c, states(c), 0, true);
  run_norm_rope<__half>(c, states(c), 1, true);
  run_norm_rope<__nv_bfloat16>(c, states(c), 1);
  run_norm_rope<__half, __half>(c, states(c), 0);
  run_norm_rope<__nv_bfloat16, __nv_bfloat16>(c, states(c), 1);
}

}  // namespace

TEST(rope_takes_every_head_size) {
  for (int head_dim : {2, 8, 14, 32, 66, 80, 96, 128, 256, 512}) {
    run({3, 5, head_dim, head_dim / 2});
  }
}

TEST(rope_turns_a_part_of_the_head) {
  for (int pairs : {1, 4, 7, 16, 20, 32}) {
    run({2, 3, 80, pairs});
  }
  run({2, 3, 10, 4});  // pairs are whole vectors, heads are not
}

TEST(rope_takes_every_number_of_heads) {
  for (int heads : {1, 2, 7, 8, 17, 32, 40}) {
    run({2, heads, 128, 64});
    run({1, heads, 16, 8});  // a warp has many heads
  }
}

TEST(rope_takes_unaligned_tensors) {
  for (size_t shift = 1; shift < 4; shift++) {
    run({2, 3, 64, 32, shift, shift, shift, shift, shift});
    run({2, 3, 64, 32, shift, 0, 0, 0});
    run({2, 3, 64, 32, 0, shift, 0, 0});
    run({2, 3, 64, 32, 0, 0, shift, 0});
    run({2, 3, 64, 32, 0, 0, 0, shift});
    run({2, 3, 64, 32, 0, 0, 0, 0, shift});
  }
}

TEST(rope_keeps_nan_and_infinity_to_their_head) {
  for (float value : {NAN, INFINITY}) {
    const Case c{2, 6, 32, 16};
    std::vector<float> x = states(c);
    x[7 * 32 + 3] = value;
    run_norm_rope<float>(c, x, 1);
    run_rope(c, x);
    run_rope_neighbours(c, x);
  }
}
