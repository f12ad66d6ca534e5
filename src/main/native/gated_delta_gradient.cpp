// The gradients of the gated delta rule. From the last token to the first with the gradient by the state, which gives
// those by values and by keys as they are written, and then from the first token to the last with the state, which the
// errors give again. TrainingOps.gatedDeltaGradient has the formulas.
#include "gated_delta.hpp"
#include "round.hpp"

using namespace LACO_NAMESPACE;

namespace {

// What a thread needs; strides are padded.
struct Scratch {
  Rows by_state;        // [key, value]: the gradient by the state; rows are padded, too
  Rows state;           // [value, key], and by_state transposed
  Rows keys;            // [2 kTokens, key]: of Tokens
  Rows values;          // [2 kTokens, value]: gradients by values, then by outputs
  Rows errors;          // [kTokens, value]
  Rows columns;         // [key or value, kTokens]: keys or errors, transposed
  Rows key_products;    // [2 kTokens, kTokens]: of keys, and of queries, with keys
  Rows error_products;  // [2 kTokens, kTokens]: of the two kinds of gradients in `values` with errors
  Rows shares;          // [kTokens, kTokens]: (t, i) is the share of what token i writes that is kept behind token t
  Rows read_values;     // [kTokens, value]: what keys read of by_state
  Rows read_keys;       // [2 kTokens, key]: what rows of values or errors read of a state
  Rows sums;            // [2 kTokens, key]: gradients by keys, then by queries

  static int64_t size(int64_t key, int64_t value) {
    const int64_t keys = padded(key), values = padded(value);
    return 2 * keys * values + kTokens * (6 * keys + 4 * values + max(keys, values)) + 5 * kTokens * kTokens;
  }

  Scratch(float* memory, int64_t key, int64_t value) {
    const int64_t wide_key = padded(key), wide_value = padded(value);
    by_state = {memory, wide_value};
    state = {by_state[wide_key], wide_key};
    keys = {state[wide_value], wide_key};
    values = {keys[2 * kTokens], wide_value};
    errors = {values[2 * kTokens], wide_value};
    columns = {errors[kTokens], kTokens};
    key_products = {columns[max(wide_key, wide_value)], kTokens};
    error_products = {key_products[2 * kTokens], kTokens};
    shares = {error_products[2 * kTokens], kTokens};
    read_values = {shares[kTokens], wide_value};
    read_keys = {read_values[kTokens], wide_key};
    sums = {read_keys[2 * kTokens], wide_key};
  }
};

inline float dot(const float* a, const float* b, int64_t columns) {
  Vec total = {};
  for (int64_t c = 0; c < columns; c += W) {
    total = fma(load(a + c), load(b + c), total);
  }
  return quick_sum(total);
}

struct DeltaGradients {
  Delta delta;
  const float *errors, *gradient;
  float *by_heads, *by_decay, *by_rate, *by_log_decay;

  // Writes or adds the gradients by divided queries and keys, `by_keys` having those by keys and then those by queries.
  void put_keys(int64_t first, int64_t count, int64_t key_head, bool add, Rows by_keys) const {
    for (int64_t t = 0; t < count; t++) {
      const auto put = [&](const float* from, float* to) {
        each_vector(delta.key, [&](int64_t i, auto... n) {
          store(to + i, add ? load(to + i, n...) + load(from + i) : load(from + i), n...);
        });
      };
      put(by_keys[t], by_heads + delta.key_at(first + t, key_head));
      put(by_keys[count + t], by_heads + delta.query_at(first + t, key_head));
    }
  }

  // From the last token to the first: `count` tokens from `first` on of head h, with by_state behind the last of them.
  // Also adds what these tokens read of each other.
  //
  // The gradient by the logarithm of a token's share is a sum over what earlier tokens wrote and this token and later
  // ones read. Writes to by_log_decay what comes of writes of these tokens, and to by_decay of the first the part of all
  // their writes that tokens behind them read.
  void backwards(int64_t first, int64_t count, int64_t h, const Scratch& scratch) const {
    const int64_t key = delta.key, value = delta.value, last = count - 1;
    const int64_t wide_key = padded(key), wide_value = padded(value), wide_count = padded(count);
    const Rows by_values = scratch.values, by_outs = scratch.values.from(count);
    const Rows shares = scratch.shares;
    Tokens tokens;
    tokens.keys = scratch.keys;
    tokens.read(delta, first, count, h);
    for (int64_t t = 0; t < count; t++) {
      copy_padded(gradient + delta.out_at(first + t, h), value, by_outs[t]);
      copy_padded(errors + delta.out_at(first + t, h), value, scratch.errors[t]);
      for (int64_t i = 0; i < kTokens; i++) {
        shares[t][i] = i < t ? shares[t - 1][i] * tokens.shares[t] : i == t ? 1 : 0;
      }
    }
    // Products of a token with one before it, times the share that is kept between them. What is written is subtracted.
    const auto weigh = [&](Rows products) {
      for (int64_t t = 0; t < count; t++) {
        scale(shares[t], wide_count, products[t]);
        scale(-1.0f, wide_count, products[t]);
        scale(shares[t], wide_count, products[count + t]);
      }
    };

    transpose_rows(tokens.keys, count, key, scratch.columns);
    multiply<false>(tokens.keys.factor(), 2 * count, scratch.columns, key, 0, scratch.key_products, wide_count);
    weigh(scratch.key_products);
    multiply<false>(tokens.keys.factor(), count, scratch.by_state, key, 0, scratch.read_values, wide_value);
    // sum = shares(last, t) * sum + what token t gets of itself and of later tokens.
    const auto add_later = [&](Rows products, Rows outs, Rows written, int64_t t, float* sum, int64_t columns) {
      combine<true>(products[count + t] + t, kTokens, outs.from(t), count - t, shares[last][t], sum, columns);
      combine<true>(products[t + 1] + t, kTokens, written.from(t + 1), last - t, 1, sum, columns);
    };
    for (int64_t t = last; t >= 0; t--) {
      add_later(scratch.key_products, by_outs, by_values, t, scratch.read_values[t], wide_value);
      const float* read = scratch.read_values[t];
      for (int64_t c = 0; c < wide_value; c += W) {
        store(by_values[t] + c, tokens.rates[t] * load(read + c));
      }
      copy_row(by_values[t], value, by_heads + delta.value_at(first + t, h));
    }

    transpose_rows(scratch.errors, count, value, scratch.columns);
    multiply<false>(by_values.factor(), 2 * count, scratch.columns, value, 0, scratch.error_products, wide_count);
    for (int64_t t = 0; t < count; t++) {
      by_rate[(first + t) * delta.value_heads + h] = scratch.error_products[t][t] * (1 - tokens.rates[t]);
    }
    double by_logarithms[kTokens];
    float read_later[kTokens] = {};  // of each token's write: by token t and later ones of these
    for (int64_t t = last; t >= 0; t--) {
      for (int64_t c = 0; c < wide_count; c += W) {
        const Vec by_key = load(scratch.key_products[t] + c) * load(scratch.error_products[t] + c);
        const Vec both = fma(load(scratch.key_products[count + t] + c), load(scratch.error_products[count + t] + c), by_key);
        store(read_later + c, fma(both, load(tokens.rates + c), load(read_later + c)));
      }
      by_logarithms[t] = 0;
      for (int64_t i = 0; i < t; i++) {
        by_logarithms[t] += static_cast<double>(read_later[i]);
      }
    }
    weigh(scratch.error_products);
    transpose_rows(scratch.by_state, key, value, scratch.state);
    multiply<false>(scratch.errors.factor(), count, scratch.state, value, 0, scratch.read_keys, wide_key);
    double read_behind = 0;
    for (int64_t t = 0; t < count; t++) {
      by_log_decay[(first + t) * delta.value_heads + h] = static_cast<float>(by_logarithms[t] + read_behind);
      const float part = tokens.rates[t] * shares[last][t] * dot(tokens.keys[t], scratch.read_keys[t], wide_key);
      read_behind += static_cast<double>(part);
    }
    by_decay[first * delta.value_heads + h] = static_cast<float>(read_behind);
    for (int64_t t = 0; t < count; t++) {
      add_later(scratch.error_products, tokens.queries(), tokens.keys, t, scratch.read_keys[t], wide_key);
      scale(tokens.rates[t], wide_key, scratch.read_keys[t]);
    }
    for (int64_t t = 0; t < count; t++) {
      float* by_key = scratch.sums[t];
      float* by_query = scratch.sums[count + t];
      scale(tokens.rates, wide_count, scratch.error_products[t]);
      scale(tokens.rates, wide_count, scratch.error_products[count + t]);
      combine<false>(scratch.error_products[t], 1, tokens.keys, t, 0, by_key, wide_key);
      combine<false>(scratch.error_products[count + t], 1, tokens.keys, t + 1, 0, by_query, wide_key);
      const float* written = scratch.read_keys[t];
      for (int64_t c = 0; c < wide_key; c += W) {
        store(by_key + c, load(by_key + c) + load(written + c));
      }
    }
    put_keys(first, count, h / delta.group(), h % delta.group() > 0, scratch.sums);

    for (int64_t t = 0; t < count; t++) {
      const float share = tokens.shares[0] * shares[t][0];
      scale(-share, wide_value, by_values[t]);
      scale(share, wide_value, by_outs[t]);
    }
    multiply<true>(tokens.keys.transposed(), key, scratch.values, 2 * count, tokens.shares[0] * shares[last][0],
                   scratch.by_state, wide_value);
  }

  // From the first token to the last: adds what `count` tokens read of the state before them, and takes them into it.
  // `read` is the part of what tokens before these wrote that these and later tokens read; it becomes that of the tokens
  // behind these. `ends` is whether none are.
  void forwards(int64_t first, int64_t count, int64_t h, bool ends, const Scratch& scratch, double* read) const {
    const int64_t key = delta.key, value = delta.value, wide_key = padded(key);
    Tokens tokens;
    tokens.keys = scratch.keys;
    tokens.read(delta, first, count, h);
    for (int64_t t = 0; t < count; t++) {
      copy_padded(by_heads + delta.value_at(first + t, h), value, scratch.values[t]);
      copy_padded(gradient + delta.out_at(first + t, h), value, scratch.values[count + t]);
      copy_padded(errors + delta.out_at(first + t, h), value, scratch.errors[t]);
    }
    multiply<false>(scratch.values.factor(), 2 * count, scratch.state, value, 0, scratch.read_keys, wide_key);
    float kept = 1;  // share of the state before the first token
    double parts[kTokens];
    double read_here = 0;
    for (int64_t t = 0; t < count; t++) {
      kept *= tokens.shares[t];
      float* by_key = scratch.read_keys[t];
      float* by_query = scratch.read_keys[count + t];
      scale(-kept, wide_key, by_key);
      scale(kept, wide_key, by_query);
      const float part = dot(tokens.queries()[t], by_query, wide_key) + dot(tokens.keys[t], by_key, wide_key);
      parts[t] = static_cast<double>(part);
      read_here += parts[t];
    }
    // In f32 little may be left of the difference, which is 0 where nothing passes these tokens.
    const double passing = ends || kept == 0 ? 0 : *read - read_here;
    *read = passing + static_cast<double>(by_decay[first * delta.value_heads + h]);
    differentiate_shares(first, count, h, passing, parts);
    put_keys(first, count, h / delta.group(), true, scratch.read_keys);
    float share = 1;  // of what the token writes that is kept
    for (int64_t t = count - 1; t >= 0; t--) {
      scale(tokens.rates[t] * share, wide_key, tokens.keys[t]);
      share *= tokens.shares[t];
    }
    multiply<true>(scratch.errors.transposed(), value, tokens.keys, count, kept, scratch.state, wide_key);
  }

  // The gradients by what the shares of `count` tokens are computed from. by_log_decay has what comes of writes of these
  // tokens; parts are what each of them reads of the state before them, and `passing` is what tokens behind them do.
  void differentiate_shares(int64_t first, int64_t count, int64_t h, double passing, const double* parts) const {
    const double factor = delta.decay_factor(h);
    double sum = passing;
    for (int64_t t = count - 1; t >= 0; t--) {
      const int64_t at = (first + t) * delta.value_heads + h;
      const double input = delta.decay_input(first + t, h);
      sum += parts[t];
      const double by_logarithm = sum + static_cast<double>(by_log_decay[at]);
      by_decay[at] = static_cast<float>(by_logarithm * factor * logistic(input));
      by_log_decay[at] = static_cast<float>(by_logarithm * factor * softplus(input));
    }
  }

  // Turns the gradient by a divided query or key into that by the query or key x, in place. In f64, since little may be
  // left of the difference.
  void differentiate_length(const float* x, double factor, float* by_divided) const {
    const double length = length_of(x, delta.key);
    Wide products = {};
    each_vector(delta.key, [&](int64_t i, auto... n) {
      const Vec v = load(x + i, n...), by = load(by_divided + i, n...);
      products += low(v) * low(by) + high(v) * high(by);
    });
    const double along = sum(products) / (length * length);
    each_vector(delta.key, [&](int64_t i, auto... n) {
      const Vec v = load(x + i, n...), by = load(by_divided + i, n...);
      const auto part = [&](Wide own, Wide by_own) { return (by_own - own * along) * (factor / length); };
      store(by_divided + i, nearest(part(low(v), low(by)), part(high(v), high(by))), n...);
    });
  }

  // All gradients of the value heads of one head of queries and keys, over the tokens from, ..., to - 1 of a sequence.
  void differentiate(int64_t from, int64_t to, int64_t key_head, const Scratch& scratch) const {
    const int64_t chunks = (to - from + kTokens - 1) / kTokens;
    const auto at = [&](int64_t chunk) { return from + chunk * kTokens; };
    for (int64_t h = key_head * delta.group(); h < (key_head + 1) * delta.group(); h++) {
      clear(scratch.by_state.first, padded(delta.key) * scratch.by_state.stride);
      for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
        backwards(at(chunk), min(kTokens, to - at(chunk)), h, scratch);
      }
      double read = 0;
      clear(scratch.state.first, padded(delta.value) * scratch.state.stride);
      for (int64_t chunk = 0; chunk < chunks; chunk++) {
        forwards(at(chunk), min(kTokens, to - at(chunk)), h, chunk == chunks - 1, scratch, &read);
      }
    }
    for (int64_t t = from; t < to; t++) {
      const int64_t key_at = delta.key_at(t, key_head), query_at = delta.query_at(t, key_head);
      differentiate_length(delta.heads + key_at, 1, by_heads + key_at);
      differentiate_length(delta.heads + query_at, delta.query_factor(), by_heads + query_at);
    }
  }
};

}  // namespace

// Number of floats that laco_gated_delta_gradient needs as scratch for each thread.
extern "C" __attribute__((visibility("default"))) int64_t LACO_JOIN(laco_gated_delta_gradient_scratch_,
                                                                    LACO_TIER)(int64_t key, int64_t value);
int64_t LACO_JOIN(laco_gated_delta_gradient_scratch_, LACO_TIER)(int64_t key, int64_t value) {
  return Scratch::size(key, value);
}

// As gated_delta, for sequences without a past: errors from that, and gradient by its out [T, value_heads * value];
// by_heads as heads, by_decay, by_rate, by_log_decay [T, value_heads].
LACO_KERNEL(gated_delta_gradient)
(const float* heads, const float* decay, const float* rate, const float* log_decay, const float* decay_bias,
 int64_t key_heads, int64_t value_heads, int64_t key, int64_t value, const int32_t* offsets, int64_t sequences,
 const float* errors, const float* gradient, float* scratch, float* by_heads, float* by_decay, float* by_rate,
 float* by_log_decay) {
  const Delta delta = {heads, decay, rate, log_decay, decay_bias, key_heads, value_heads, key, value};
  const DeltaGradients all = {delta, errors, gradient, by_heads, by_decay, by_rate, by_log_decay};
  const bool parallel = offsets[sequences] * value_heads * key * value > kParallelLight;
#pragma omp parallel for schedule(dynamic) if (parallel)
  for (int64_t task = 0; task < sequences * key_heads; task++) {
    const int64_t s = task / key_heads;
    const Scratch own(scratch + omp_get_thread_num() * Scratch::size(key, value), key, value);
    all.differentiate(offsets[s], offsets[s + 1], task % key_heads, own);
  }
  return LACO_OK;
}
