// Linear attention by the gated delta rule.
#include "gated_delta.hpp"

using namespace LACO_NAMESPACE;

namespace {

// What a thread needs; strides are padded.
struct Scratch {
  Rows state;     // [key, value]
  Rows keys;      // [2 kTokens, key]: of Tokens
  Rows columns;   // [key, kTokens]: keys, transposed
  Rows products;  // [2 kTokens, kTokens]: of keys, and of queries, with keys
  Rows sums;      // [2 kTokens, value]: of what keys, and queries, read
  Rows errors;    // [kTokens, value]

  static int64_t size(int64_t key, int64_t value) {
    return key * padded(value) + 3 * kTokens * (padded(key) + padded(value)) + 2 * kTokens * kTokens;
  }

  Scratch(float* memory, int64_t key, int64_t value) {
    state = {memory, padded(value)};
    keys = {state[key], padded(key)};
    columns = {keys[2 * kTokens], kTokens};
    products = {columns[padded(key)], kTokens};
    sums = {products[2 * kTokens], padded(value)};
    errors = {sums[2 * kTokens], padded(value)};
  }
};

// Takes `count` tokens from `first` on into the state of head h.
void attend(const Delta& delta, int64_t first, int64_t count, int64_t h, const Scratch& scratch, Rows state, float* out,
            float* errors) {
  const int64_t key = delta.key, value = delta.value, columns = padded(value);
  Tokens tokens;
  tokens.keys = scratch.keys;
  tokens.read(delta, first, count, h);
  transpose_rows(tokens.keys, count, key, scratch.columns);
  multiply<false>(tokens.keys.factor(), 2 * count, scratch.columns, key, 0, scratch.products, padded(count));
  multiply<false>(tokens.keys.factor(), 2 * count, state, key, 0, scratch.sums, columns);
  float kept = 1;               // share of the state before the first token
  float written[kTokens] = {};  // of each token so far: its rate times the share of what it wrote that is kept
  for (int64_t t = 0; t < count; t++) {
    kept *= tokens.shares[t];
    for (int64_t i = 0; i < t; i++) {
      written[i] *= tokens.shares[t];
    }
    written[t] = tokens.rates[t];
    const auto add_up = [&](int64_t row, int64_t before) {
      scale(written, padded(count), scratch.products[row]);
      combine<true>(scratch.products[row], 1, scratch.errors, before, kept, scratch.sums[row], columns);
      return scratch.sums[row];
    };
    const float* read = add_up(t, t);
    const float* values = delta.heads + delta.value_at(first + t, h);
    const int64_t at = delta.out_at(first + t, h);
    each_vector(value, [&](int64_t c, auto... n) {
      const Vec error = load(values + c, n...) - load(read + c);
      store(scratch.errors[t] + c, error);
      if (errors != nullptr) {
        store(errors + at + c, error, n...);
      }
    });
    const float* result = add_up(count + t, t + 1);
    each_vector(value, [&](int64_t c, auto... n) { store(out + at + c, load(result + c), n...); });
  }
  for (int64_t t = 0; t < count; t++) {
    scale(written[t], columns, scratch.errors[t]);
  }
  multiply<true>(tokens.keys.transposed(), key, scratch.errors, count, kept, state, columns);
}

}  // namespace

// Number of floats that laco_gated_delta needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_gated_delta_scratch_,
                                                                    LACO_TIER)(int64_t key, int64_t value);
int64_t LACO_JOIN(laco_gated_delta_scratch_, LACO_TIER)(int64_t key, int64_t value) {
  return Scratch::size(key, value);
}

// ForwardOps.gatedDelta has the formulas: heads [T, 2 key_heads * key + value_heads * value], decay, rate
// [T, value_heads], log_decay, decay_bias [value_heads], out and errors [T, value_heads * value]; errors may be null.
// states [slots, value_heads * key * value] may be null, for zeros; sequence s has row key_offsets[s] / capacity of it,
// which is not read where past[s] is 0.
LACO_KERNEL(gated_delta)
(const float* heads, const float* decay, const float* rate, const float* log_decay, const float* decay_bias,
 int64_t key_heads, int64_t value_heads, int64_t key, int64_t value, const int32_t* offsets, const int32_t* past,
 const int32_t* key_offsets, int64_t capacity, int64_t sequences, float* states, float* scratch, float* out,
 float* errors) {
  const Delta delta = {heads, decay, rate, log_decay, decay_bias, key_heads, value_heads, key, value};
  const bool parallel = offsets[sequences] * value_heads * key * value > kParallelLight;
#pragma omp parallel for schedule(dynamic) if (parallel)
  for (int64_t task = 0; task < sequences * value_heads; task++) {
    const int64_t s = task / value_heads, h = task % value_heads;
    const Scratch own(scratch + omp_get_thread_num() * Scratch::size(key, value), key, value);
    Rows state = own.state, kept = {nullptr, value};
    if (states != nullptr) {
      kept.first = states + (key_offsets[s] / capacity * value_heads + h) * key * value;
      if (value % W == 0) {
        state = kept;
      }
    }
    if (past[s] == 0) {
      clear(state.first, key * state.stride);
    } else if (kept.first != state.first) {
      for (int64_t i = 0; i < key; i++) {
        copy_padded(kept[i], value, state[i]);
      }
    }
    for (int64_t t = offsets[s]; t < offsets[s + 1]; t += kTokens) {
      attend(delta, t, min(kTokens, offsets[s + 1] - t), h, own, state, out, errors);
    }
    if (kept.first != nullptr && kept.first != state.first) {
      for (int64_t i = 0; i < key; i++) {
        copy_row(state[i], value, kept[i]);
      }
    }
  }
  return LACO_OK;
}
