// gated_delta.cu against the rule in f64.
#include "gated_delta_cases.hpp"

namespace {

using namespace delta;

void run(const Case& c, bool with_states, bool with_errors, size_t shift) {
  const Inputs in(c);
  const auto heads = static_cast<size_t>(c.value_heads);
  std::vector<double> outs(in.tokens() * c.values()), errors(outs.size()), states(in.states.begin(), in.states.end());
  for (size_t s = 0; s < c.lengths.size(); s++) {
    for (size_t h = 0; h < heads; h++) {
      std::vector<double> state(c.state()), out, error;
      const auto kept = states.begin() + static_cast<long>(((2 * s + 1) * heads + h) * c.state());
      if (with_states && c.past[s] > 0) {
        std::copy_n(kept, c.state(), state.begin());
      }
      for (auto t = static_cast<size_t>(in.offsets[s]); t < static_cast<size_t>(in.offsets[s + 1]); t++) {
        Token(c, in, t, h).apply(state, out, error);
        const auto to = static_cast<long>(t * c.values() + h * static_cast<size_t>(c.value));
        std::copy(out.begin(), out.end(), outs.begin() + to);
        std::copy(error.begin(), error.end(), errors.begin() + to);
      }
      if (with_states) {
        std::copy(state.begin(), state.end(), kept);
      }
    }
  }
  check::Buffer<float> input(in.heads, shift), decay(in.decay, shift), rate(in.rate, shift);
  check::Buffer<float> log_decay(in.log_decay, shift), decay_bias(in.decay_bias, shift), kept(in.states, shift);
  check::Buffer<float> out(outs.size(), shift), error(outs.size(), shift);
  check::Buffer<int32_t> offsets(in.offsets), past(c.past), key_offsets(in.key_offsets);
  const int columns = c.key > 128 ? 16 : 32;  // of a block
  check::launch("laco_gated_delta_f32_v1",
                dim3(static_cast<unsigned>((c.value + columns - 1) / columns), static_cast<unsigned>(c.value_heads),
                     static_cast<unsigned>(c.sequences())),
                128, 0, static_cast<const float*>(input.data()), static_cast<const float*>(decay.data()),
                static_cast<const float*>(rate.data()), static_cast<const float*>(log_decay.data()),
                static_cast<const float*>(decay_bias.data()), static_cast<const int32_t*>(offsets.data()),
                static_cast<const int32_t*>(past.data()), static_cast<const int32_t*>(key_offsets.data()),
                with_states ? kept.data() : nullptr, out.data(), with_errors ? error.data() : nullptr, kCapacity,
                c.key_heads, c.value_heads, c.key, c.value);
  check_all(out, outs, c.words());
  if (with_errors) {
    check_all(error, errors, c.words() + ", errors");
  }
  check_all(kept, states, c.words() + ", states");
}

}  // namespace

TEST(gated_delta_of_every_width) {
  const std::vector<int> lengths = {9, 1, 18}, none = {0, 0, 0}, past = {4, 0, 1};
  size_t shift = 0;
  for (int key : {1, 4, 33, 128, 256}) {
    for (int value : {1, 16, 40}) {
      run({1, 2, key, value, lengths, none}, false, true, shift);
      run({1, 2, key, value, lengths, past}, true, false, shift);
      shift = 1 - shift;
    }
  }
  run({2, 4, 30, 70, lengths, past}, true, true, 1);
}

TEST(gated_delta_keeps_infinities_to_themselves) {
  // An infinite value of a head with a key of one element: there is no other row that could make NaN of it.
  const Case c = {1, 1, 1, 2, {2}, {0}};
  Inputs in(c);
  in.heads = {1, 1, INFINITY, 1, 1, 1, 1, 1};
  check::Buffer<float> input(in.heads), scalars(std::vector<float>{0, 0}), out(4);
  check::Buffer<int32_t> offsets(in.offsets), past(c.past), key_offsets(in.key_offsets);
  const float* const zeros = scalars.data();
  check::launch("laco_gated_delta_f32_v1", dim3(1, 1, 1), 128, 0, static_cast<const float*>(input.data()), zeros, zeros,
                zeros, zeros, static_cast<const int32_t*>(offsets.data()), static_cast<const int32_t*>(past.data()),
                static_cast<const int32_t*>(key_offsets.data()), static_cast<float*>(nullptr), out.data(),
                static_cast<float*>(nullptr), kCapacity, c.key_heads, c.value_heads, c.key, c.value);
  CHECK(std::isinf(out[0]) && std::isfinite(out[1]) && std::isnan(out[2]) && std::isfinite(out[3]));
}
