// Runs every kernel of every tier that the processor has, at every length around the tier's vector width.
// Memory ends or begins at a page that may not be accessed; results are compared with plain loops in f64.
// Built with the address and undefined-behaviour sanitizers; exits with 1 on the first difference.

#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <vector>

extern "C" {
int32_t laco_cpu_features();
int32_t laco_watch_mappings(void*);
#define LACO_DECLARE(tier)                                                                         \
  int32_t laco_embed_##tier(const void*, int32_t, const int32_t*, int64_t, int64_t, float,         \
                            float*);                                                               \
  int32_t laco_rms_norm_##tier(const float*, const void*, int32_t, double, float, int64_t,         \
                               int64_t, void*, int32_t);                                           \
  int32_t laco_layer_norm_##tier(const float*, const void*, const void*, int32_t, double, float, int64_t, \
                                 int64_t, int64_t, void*, int32_t);                                \
  int32_t laco_linear_rows_##tier(const float*, const void*, int32_t, int64_t, int64_t, int64_t,   \
                                  float*);                                                         \
  int32_t laco_add_bias_##tier(float*, const void*, int32_t, int64_t, int64_t);                    \
  int32_t laco_rope_##tier(float*, const float*, const float*, int64_t, int64_t, int64_t,          \
                           int64_t, float);                                                        \
  int32_t laco_rope_neighbours_##tier(float*, const float*, const float*, int64_t, int64_t,        \
                                      int64_t, int64_t, float);                                    \
  int64_t laco_attention_scratch_##tier(int64_t);                                                  \
  int32_t laco_attention_##tier(const float*, const float*, const float*, int64_t, int64_t,        \
                                int64_t, int64_t, float, float, const float*, const float*, const int32_t*,      \
                                const int32_t*, const int32_t*, int64_t, float*, float*, float*);                  \
  int64_t laco_attention_gradient_scratch_##tier(int64_t);                                         \
  int32_t laco_attention_gradient_##tier(                                                          \
      const float*, const float*, const float*, int64_t, int64_t, int64_t, int64_t, float, float,  \
      const float*, const int32_t*, int64_t, const float*, const float*, const float*, float*,     \
      float*, float*, float*);                                                                     \
  int64_t laco_causal_convolution_scratch_##tier(int64_t);                                         \
  int32_t laco_causal_convolution_##tier(const float*, const float*, int64_t, int64_t,             \
                                         const int32_t*, const int32_t*, const int32_t*, int64_t,  \
                                         int64_t, float*, float*, float*);                         \
  int32_t laco_causal_convolution_gradient_##tier(const float*, const float*, int64_t, int64_t,    \
                                                  const int32_t*, int64_t, const float*, float*,   \
                                                  float*, float*);                                 \
  int64_t laco_gated_delta_scratch_##tier(int64_t, int64_t);                                       \
  int32_t laco_gated_delta_##tier(const float*, const float*, const float*, const float*,          \
                                  const float*, int64_t, int64_t, int64_t, int64_t,                \
                                  const int32_t*, const int32_t*, const int32_t*, int64_t,         \
                                  int64_t, float*, float*, float*, float*);                        \
  int64_t laco_gated_delta_gradient_scratch_##tier(int64_t, int64_t);                              \
  int32_t laco_gated_delta_gradient_##tier(const float*, const float*, const float*, const float*, \
                                           const float*, int64_t, int64_t, int64_t, int64_t,       \
                                           const int32_t*, int64_t, const float*, const float*,    \
                                           float*, float*, float*, float*, float*);                \
  int32_t laco_clamped_gate_##tier(const float*, int64_t, float, float, float*);                   \
  int32_t laco_clamped_gate_gradients_##tier(float*, int64_t, float, float, const float*);         \
  int32_t laco_gated_activation_##tier(int32_t, const float*, const float*, int64_t, void*,        \
                                       int32_t);                                                   \
  int32_t laco_gated_gradients_##tier(int32_t, float*, float*, const float*, int64_t);             \
  int64_t laco_norm_gradient_scratch_##tier(int64_t, int64_t, int64_t);                            \
  int32_t laco_norm_gradient_##tier(const float*, const void*, int32_t, int32_t, double, float,    \
                                    int64_t, int64_t, int64_t, const float*, float*, float*,       \
                                    float*, float*);                                               \
  int32_t laco_route_##tier(const float*, const float*, int64_t, int64_t, int64_t, int32_t,        \
                            int32_t, double, double, int32_t, int32_t, int32_t, int32_t*, float*);         \
  int32_t laco_add_rows_##tier(float*, const float*, const int32_t*, const float*, int64_t,        \
                               int64_t);                                                           \
  int32_t laco_copy_columns_##tier(const float*, int64_t, int64_t, int64_t, int64_t, int64_t,      \
                                   void*, int32_t, int64_t);                                       \
  int32_t laco_gather_columns_##tier(const void*, int32_t, const int32_t*, int64_t, int64_t,       \
                                     int64_t, int64_t, void*);                                     \
  int32_t laco_add_##tier(float*, const float*, int64_t);                                          \
  int32_t laco_multiply_##tier(const float*, const float*, int64_t, float*);                       \
  int32_t laco_mix_##tier(void*, int32_t, int64_t, const double*, const void* const*,              \
                          const int32_t*, int64_t);                                                \
  int32_t laco_cosine_##tier(const float*, const float*, int64_t, int64_t, const int32_t*,         \
                             int64_t, double*, double*);                                           \
  int32_t laco_logits_##tier(float*, const float*, int64_t, int64_t, float, float);                \
  int32_t laco_log_probability_##tier(const float*, int64_t, int64_t, int64_t, const int32_t*,     \
                                      float*, double*, float*);                                    \
  int32_t laco_sample_##tier(const float*, int64_t, int64_t, float, const double*, double*,        \
                             int32_t*);                                                            \
  int32_t laco_kl_divergence_##tier(const float*, const float*, int64_t, int64_t, int64_t,         \
                                    double*);                                                      \
  int32_t laco_inverse_rms_##tier(const void*, int32_t, double, int64_t, int64_t, float*);         \
  int32_t laco_scaled_difference_##tier(const float*, const float*, const float*, int64_t,         \
                                        int64_t, float*);                                          \
  int32_t laco_add_columns_##tier(const float*, int64_t, int64_t, float*);                         \
  int32_t laco_add_squares_##tier(const float*, int64_t, int64_t, float*);                         \
  int32_t laco_row_products_##tier(const float*, const float*, int64_t, int64_t, float*);          \
  int32_t laco_sum_of_squares_##tier(const float*, int64_t, double*);                              \
  int32_t laco_distillation_gradient_##tier(float*, const float*, int64_t, int64_t, const double*, \
                                            const int32_t*, double, const float*, double, float);  \
  int32_t laco_adam_w_##tier(float*, float*, float*, float*, void*, int32_t, int64_t, double,      \
                             double, double, double, double, double, double, uint64_t);            \
  int32_t laco_adam_w_8bit_##tier(float*, float*, float*, void*, int32_t, int64_t, double, double, \
                                  double, double, double, double, double, uint64_t);               \
  int32_t laco_widen_##tier(const void*, int32_t, int64_t, float*);                                \
  int32_t laco_narrow_##tier(const float*, int64_t, void*, int32_t);
LACO_DECLARE(0)
LACO_DECLARE(1)
LACO_DECLARE(2)
int32_t laco_use_tiles();
decltype(laco_attention_scratch_0) laco_attention_tiles_scratch;
decltype(laco_attention_0) laco_attention_tiles;
decltype(laco_attention_gradient_scratch_0) laco_attention_gradient_tiles_scratch;
decltype(laco_attention_gradient_0) laco_attention_gradient_tiles;
}

namespace {

struct Kernels {
  int tier;
  int needs;  // bits of laco_cpu_features
  decltype(&laco_embed_0) embed;
  decltype(&laco_rms_norm_0) rms_norm;
  decltype(&laco_layer_norm_0) layer_norm;
  decltype(&laco_linear_rows_0) linear_rows;
  decltype(&laco_add_bias_0) add_bias;
  decltype(&laco_rope_0) rope;
  decltype(&laco_rope_0) rope_neighbours;
  decltype(&laco_attention_scratch_0) attention_scratch;
  decltype(&laco_attention_0) attention;
  decltype(&laco_attention_gradient_scratch_0) attention_gradient_scratch;
  decltype(&laco_attention_gradient_0) attention_gradient;
  decltype(&laco_causal_convolution_scratch_0) causal_convolution_scratch;
  decltype(&laco_causal_convolution_0) causal_convolution;
  decltype(&laco_causal_convolution_gradient_0) causal_convolution_gradient;
  decltype(&laco_gated_delta_scratch_0) gated_delta_scratch;
  decltype(&laco_gated_delta_0) gated_delta;
  decltype(&laco_gated_delta_gradient_scratch_0) gated_delta_gradient_scratch;
  decltype(&laco_gated_delta_gradient_0) gated_delta_gradient;
  decltype(&laco_clamped_gate_0) clamped_gate;
  decltype(&laco_clamped_gate_gradients_0) clamped_gate_gradients;
  decltype(&laco_gated_activation_0) gated_activation;
  decltype(&laco_gated_gradients_0) gated_gradients;
  decltype(&laco_norm_gradient_scratch_0) norm_gradient_scratch;
  decltype(&laco_norm_gradient_0) norm_gradient;
  decltype(&laco_route_0) route;
  decltype(&laco_add_rows_0) add_rows;
  decltype(&laco_copy_columns_0) copy_columns;
  decltype(&laco_gather_columns_0) gather_columns;
  decltype(&laco_add_0) add;
  decltype(&laco_multiply_0) multiply;
  decltype(&laco_mix_0) mix;
  decltype(&laco_cosine_0) cosine;
  decltype(&laco_logits_0) logits;
  decltype(&laco_log_probability_0) log_probability;
  decltype(&laco_sample_0) sample;
  decltype(&laco_kl_divergence_0) kl_divergence;
  decltype(&laco_inverse_rms_0) inverse_rms;
  decltype(&laco_scaled_difference_0) scaled_difference;
  decltype(&laco_add_columns_0) add_columns;
  decltype(&laco_add_squares_0) add_squares;
  decltype(&laco_row_products_0) row_products;
  decltype(&laco_sum_of_squares_0) sum_of_squares;
  decltype(&laco_distillation_gradient_0) distillation_gradient;
  decltype(&laco_adam_w_0) adam_w;
  decltype(&laco_adam_w_8bit_0) adam_w_8bit;
  decltype(&laco_widen_0) widen;
  decltype(&laco_narrow_0) narrow;
};

#define LACO_TABLE(tier, needs)                                                                    \
  Kernels {                                                                                        \
    tier, needs, laco_embed_##tier, laco_rms_norm_##tier, laco_layer_norm_##tier,                  \
        laco_linear_rows_##tier, laco_add_bias_##tier, laco_rope_##tier,                           \
        laco_rope_neighbours_##tier, laco_attention_scratch_##tier, laco_attention_##tier,         \
        laco_attention_gradient_scratch_##tier, laco_attention_gradient_##tier,                    \
        laco_causal_convolution_scratch_##tier, laco_causal_convolution_##tier,                    \
        laco_causal_convolution_gradient_##tier, laco_gated_delta_scratch_##tier,                  \
        laco_gated_delta_##tier, laco_gated_delta_gradient_scratch_##tier,                         \
        laco_gated_delta_gradient_##tier,                                                          \
        laco_clamped_gate_##tier, laco_clamped_gate_gradients_##tier,                              \
        laco_gated_activation_##tier, laco_gated_gradients_##tier,                                 \
        laco_norm_gradient_scratch_##tier, laco_norm_gradient_##tier, laco_route_##tier,           \
        laco_add_rows_##tier, laco_copy_columns_##tier, laco_gather_columns_##tier, laco_add_##tier, laco_multiply_##tier,   \
        laco_mix_##tier,                                                                           \
        laco_cosine_##tier, laco_logits_##tier, laco_log_probability_##tier, laco_sample_##tier,   \
        laco_kl_divergence_##tier, laco_inverse_rms_##tier, laco_scaled_difference_##tier,         \
        laco_add_columns_##tier, laco_add_squares_##tier, laco_row_products_##tier,                \
        laco_sum_of_squares_##tier, laco_distillation_gradient_##tier, laco_adam_w_##tier,         \
        laco_adam_w_8bit_##tier,                                                                   \
        laco_widen_##tier, laco_narrow_##tier                                                      \
  }

const Kernels kTiers[] = {LACO_TABLE(0, 0), LACO_TABLE(1, 1), LACO_TABLE(2, 2)};

std::string current;  // the kernel and the case that run, for messages

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "FAILED %s: %s\n", current.c_str(), what.c_str());
  std::exit(1);
}

void check(bool condition, const char* what) {
  if (!condition) {
    fail(what);
  }
}

void close(double actual, double expected, double tolerance, int64_t at) {
  const bool same = std::isnan(expected) ? std::isnan(actual)
                                         : actual == expected ||
                                               std::abs(actual - expected) <= tolerance;
  if (!same) {
    fail("element " + std::to_string(at) + " is " + std::to_string(actual) + ", must be " +
         std::to_string(expected));
  }
}

// Memory between two pages that may not be accessed: it ends `shift` bytes before the second page or begins
// `shift` bytes behind the first. The bytes around it hold a pattern that kernels must leave as it is.
class Guarded {
 public:
  enum Side { kEnd, kBeginning };

  Guarded(size_t bytes, Side side, size_t shift = 0) : bytes_(bytes) {
    inside_ = (bytes + shift + kPage - 1) / kPage * kPage + kPage;
    void* all = mmap(nullptr, inside_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(all != MAP_FAILED, "mmap");
    base_ = static_cast<unsigned char*>(all) + kPage;
    check(mprotect(base_, inside_, PROT_READ | PROT_WRITE) == 0, "mprotect");
    std::memset(base_, kPattern, inside_);
    data_ = side == kEnd ? base_ + inside_ - bytes - shift : base_ + shift;
  }

  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  ~Guarded() {
    for (unsigned char* p = base_; p < base_ + inside_; p++) {
      if (p == data_) {
        p += bytes_;
        if (p >= base_ + inside_) {
          break;
        }
      }
      check(*p == kPattern, "a byte beside the tensor was overwritten");
    }
    munmap(base_ - kPage, inside_ + 2 * kPage);
  }

  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  unsigned char* bytes() { return data_; }

 private:
  static constexpr size_t kPage = 4096;
  static constexpr unsigned char kPattern = 0xa5;
  unsigned char* base_;
  unsigned char* data_;
  size_t inside_;
  size_t bytes_;
};

std::mt19937 generator(20240217);

float normal() {
  static std::normal_distribution<float> distribution;
  return distribution(generator);
}

size_t size_of(int32_t dtype) { return dtype == 0 ? 4 : 2; }

double decode(const unsigned char* p, int32_t dtype) {
  if (dtype == 0) {
    float value;
    std::memcpy(&value, p, 4);
    return static_cast<double>(value);
  }
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  if (dtype == 2) {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return static_cast<double>(value);
  }
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
  if (exponent == 31) {
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

// A weight of n elements: random finite bits, with magnitudes around 1.
struct Weight {
  int32_t dtype;
  Guarded memory;

  Weight(int32_t type, int64_t n, Guarded::Side side, size_t shift)
      : dtype(type), memory(static_cast<size_t>(n) * size_of(type), side, shift) {
    for (int64_t i = 0; i < n; i++) {
      unsigned char* p = memory.bytes() + static_cast<size_t>(i) * size_of(type);
      const float value = normal();
      if (type == 0) {
        std::memcpy(p, &value, 4);
      } else {
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        const uint32_t exponent = (bits >> 23 & 255) - 112;
        const bool tiny = (bits >> 23 & 255) < 113;
        const uint32_t half = tiny ? 0 : exponent << 10 | (bits >> 13 & 1023);
        const auto stored =
            static_cast<uint16_t>(type == 2 ? bits >> 16 : (bits >> 16 & 0x8000) | half);
        std::memcpy(p, &stored, 2);
      }
    }
  }

  double operator[](int64_t i) {
    return decode(memory.bytes() + static_cast<size_t>(i) * size_of(dtype), dtype);
  }
  const void* data() { return memory.bytes(); }
};

// f32 values in guarded memory.
struct Floats {
  Guarded memory;
  std::vector<float> start;  // the values before a kernel ran

  Floats(int64_t n, Guarded::Side side, std::function<float()> next = normal)
      : memory(static_cast<size_t>(n) * 4, side) {
    for (int64_t i = 0; i < n; i++) {
      start.push_back(next());
    }
    std::copy(start.begin(), start.end(), memory.as<float>());
  }

  float* data() { return memory.as<float>(); }
  double operator[](int64_t i) { return static_cast<double>(data()[i]); }
  double before(int64_t i) const { return static_cast<double>(start[static_cast<size_t>(i)]); }
};

// As many as OpenMP may start: each has scratch memory of its own.
int64_t threads() { return omp_get_max_threads(); }

float unset() { return std::numeric_limits<float>::quiet_NaN(); }

// Every length up to a little more than four vectors of the widest tier, and some larger lengths.
std::vector<int64_t> lengths() {
  std::vector<int64_t> all;
  for (int64_t n = 1; n <= 70; n++) {
    all.push_back(n);
  }
  for (int64_t n : {127, 128, 129, 255, 257, 576, 1030}) {
    all.push_back(n);
  }
  return all;
}

// Calls f for every length, element type, side and shift of the weight.
void each(const char* op, int tier,
          const std::function<void(int64_t, int32_t, Guarded::Side, size_t)>& f, int32_t dtypes = 3) {
  for (int64_t n : lengths()) {
    for (int32_t dtype = 0; dtype < dtypes; dtype++) {
      for (Guarded::Side side : {Guarded::kEnd, Guarded::kBeginning}) {
        for (size_t shift : {size_t{0}, size_t{1}}) {
          current = std::string(op) + "_" + std::to_string(tier) + " n=" + std::to_string(n) +
                    " dtype=" + std::to_string(dtype) + " side=" + std::to_string(side) +
                    " shift=" + std::to_string(shift);
          f(n, dtype, side, shift);
        }
      }
    }
  }
}

// Calls f with memory of either 16-bit type, where it must write what narrow makes of the f32 values that it wrote before.
void rounds(const Kernels& k, const float* values, int64_t n, Guarded::Side side, size_t shift,
            const std::function<int32_t(void*, int32_t)>& f) {
  for (int32_t type : {1, 2}) {
    const size_t bytes = static_cast<size_t>(n) * 2;
    Guarded expected(bytes, side), actual(bytes, side, shift);
    check(k.narrow(values, n, expected.bytes(), type) == 0, "status");
    check(f(actual.bytes(), type) == 0, "status");
    check(std::memcmp(expected.bytes(), actual.bytes(), bytes) == 0, "16 bits differ from rounded f32");
  }
}

void test_weights(const Kernels& k) {
  each("embed", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Weight table(dtype, 3 * n, side, shift);
    Floats out(2 * n, side, unset);
    const int32_t tokens[] = {2, 0};
    for (float scale : {1.0f, 4.0f}) {
      check(k.embed(table.data(), dtype, tokens, 2, n, scale, out.data()) == 0, "status");
      for (int64_t i = 0; i < 2 * n; i++) {
        close(out[i], static_cast<double>(scale) * table[tokens[i / n] * n + i % n], 0, i);
      }
    }
  });
  each("widen", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Weight in(dtype, n, side, shift);
    Floats out(n, side, unset);
    check(k.widen(in.data(), dtype, n, out.data()) == 0, "status");
    for (int64_t i = 0; i < n; i++) {
      close(out[i], in[i], 0, i);
    }
  });
  each("narrow", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Floats in(n, side);
    Guarded out(static_cast<size_t>(n) * size_of(dtype), side, shift);
    check(k.narrow(in.data(), n, out.bytes(), dtype) == 0, "status");
    const double epsilon = dtype == 0 ? 0 : dtype == 1 ? 0x1p-11 : 0x1p-8;
    for (int64_t i = 0; i < n; i++) {
      const double actual = decode(out.bytes() + static_cast<size_t>(i) * size_of(dtype), dtype);
      close(actual, in[i], epsilon * std::abs(in[i]) + (dtype == 1 ? 0x1p-25 : 0), i);
    }
  });
  each("rms_norm", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Floats x(2 * n, side);
    Weight weight(dtype, n, side, shift);
    Floats out(2 * n, side, unset);
    for (float offset : {0.0f, 1.0f}) {
      check(k.rms_norm(x.data(), weight.data(), dtype, 1e-5, offset, 2, n, out.data(), 0) == 0, "status");
      rounds(k, out.data(), 2 * n, side, shift, [&](void* to, int32_t type) {
        return k.rms_norm(x.data(), weight.data(), dtype, 1e-5, offset, 2, n, to, type);
      });
      for (int64_t r = 0; r < 2; r++) {
        double squares = 0;
        for (int64_t i = 0; i < n; i++) {
          squares += x[r * n + i] * x[r * n + i];
        }
        const double norm = std::sqrt(squares / static_cast<double>(n) + 1e-5);
        for (int64_t i = 0; i < n; i++) {
          const double factor = static_cast<double>(offset) + weight[i];
          close(out[r * n + i], factor * x[r * n + i] / norm, 1e-5, i);
        }
      }
    }
  });
  each("layer_norm", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    const int64_t rows = 4, sets = 2;
    Floats x(rows * n, side);
    Weight weight(dtype, sets * n, side, shift);
    Weight bias(dtype, sets * n, side, shift);
    Floats out(rows * n, side, unset);
    for (bool shifted : {false, true}) {
      const void* added = shifted ? bias.data() : nullptr;
      const float offset = shifted ? 1 : 0;
      check(k.layer_norm(x.data(), weight.data(), added, dtype, 1e-5, offset, rows, n, sets, out.data(), 0) == 0, "status");
      rounds(k, out.data(), rows * n, side, shift, [&](void* to, int32_t type) {
        return k.layer_norm(x.data(), weight.data(), added, dtype, 1e-5, offset, rows, n, sets, to, type);
      });
      for (int64_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < n; i++) {
          mean += x[r * n + i] / static_cast<double>(n);
        }
        for (int64_t i = 0; i < n; i++) {
          variance += (x[r * n + i] - mean) * (x[r * n + i] - mean) / static_cast<double>(n);
        }
        for (int64_t i = 0; i < n; i++) {
          const int64_t at = r % sets * n + i;
          const double scale = weight[at] + static_cast<double>(offset);
          const double expected = scale * (x[r * n + i] - mean) / std::sqrt(variance + 1e-5);
          close(out[r * n + i], expected + (shifted ? bias[at] : 0), 1e-5, i);
        }
      }
    }
  });
  each("add_bias", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Floats x(2 * n, side);
    Weight bias(dtype, n, side, shift);
    check(k.add_bias(x.data(), bias.data(), dtype, 2, n) == 0, "status");
    for (int64_t i = 0; i < 2 * n; i++) {
      close(x[i], x.before(i) + bias[i % n], 1e-6, i);
    }
  });
  each("linear_rows", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    const int64_t rows = 1 + n % 6;
    const int64_t width = 1 + n % 7;
    Floats x(rows * n, side);
    Weight weight(dtype, width * n, side, shift);
    Floats out(rows * width, side, unset);
    check(k.linear_rows(x.data(), weight.data(), dtype, rows, n, width, out.data()) == 0, "status");
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t o = 0; o < width; o++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
          sum += x[r * n + i] * weight[o * n + i];
        }
        close(out[r * width + o], sum, 1e-6 * static_cast<double>(n) + 1e-6, r * width + o);
      }
    }
  });
}

// Mixes two tensors of any types. The portable tier's results are compared with f64 sums, the other tiers'
// results with the bits of the portable tier.
void test_mix(const Kernels& k) {
  each("mix", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Weight a(dtype, n, side, shift);
    Weight b(static_cast<int32_t>(n % 3), n, side, shift);
    const double coefficients[] = {1.0 / 3, -0.7};
    const void* sources[] = {a.data(), b.data()};
    const int32_t dtypes[] = {dtype, b.dtype};
    for (int32_t to = 0; to < 3; to++) {
      const size_t bytes = static_cast<size_t>(n) * size_of(to);
      Guarded out(bytes, side, shift);
      std::vector<unsigned char> portable(bytes);
      check(k.mix(out.bytes(), to, n, coefficients, sources, dtypes, 2) == 0, "status");
      check(laco_mix_0(portable.data(), to, n, coefficients, sources, dtypes, 2) == 0, "status");
      check(std::memcmp(out.bytes(), portable.data(), bytes) == 0, "other bits than tier 0");
      for (int64_t i = 0; i < n; i++) {
        const double expected = coefficients[0] * a[i] + coefficients[1] * b[i];
        const double actual = decode(out.bytes() + static_cast<size_t>(i) * size_of(to), to);
        const double epsilon = to == 0 ? 0x1p-24 : to == 1 ? 0x1p-11 : 0x1p-8;
        close(actual, expected, epsilon * std::abs(expected) + (to == 1 ? 0x1p-24 : 1e-40), i);
      }
    }
  });
}

// Mixes tensors that are so large that the kernel stores past the caches, at every alignment.
void test_large_mix(const Kernels& k) {
  const int64_t n = (40 << 20) / 2 + 13;
  std::vector<uint16_t> source(static_cast<size_t>(n) + 1);
  for (size_t i = 0; i < source.size(); i++) {
    source[i] = static_cast<uint16_t>(i * 40503u >> 3 & 0xbfff);  // no infinity, no NaN
  }
  std::vector<unsigned char> out(static_cast<size_t>(n) * 4 + 70);
  std::vector<unsigned char> portable(static_cast<size_t>(n) * 4);
  const double coefficients[] = {0.37, 0.61};
  const void* sources[] = {source.data(), source.data() + 1};
  const int32_t dtypes[] = {2, 2};
  for (int32_t to = 0; to < 3; to++) {
    laco_mix_0(portable.data(), to, n, coefficients, sources, dtypes, 2);
    for (size_t shift : {size_t{0}, size_t{4}, size_t{7}, size_t{64}}) {
      current = "large mix_" + std::to_string(k.tier) + " to=" + std::to_string(to) + " shift=" +
                std::to_string(shift);
      const size_t bytes = static_cast<size_t>(n) * size_of(to);
      std::memset(out.data(), 0xa5, out.size());
      check(k.mix(out.data() + shift, to, n, coefficients, sources, dtypes, 2) == 0, "status");
      check(std::memcmp(out.data() + shift, portable.data(), bytes) == 0, "other bits than tier 0");
      check(shift == 0 || out[shift - 1] == 0xa5, "the byte before was overwritten");
      check(out[shift + bytes] == 0xa5, "the byte after was overwritten");
    }
  }
}

void test_activations(const Kernels& k) {
  auto activate = [](int32_t activation, double x) {
    const double tanh_argument = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    return activation == 0   ? x / (1 + std::exp(-x))
           : activation == 1 ? 0.5 * x * std::erfc(-x / std::sqrt(2.0))
           : activation == 2 ? 0.5 * x * (1 + std::tanh(tanh_argument))
           : activation == 3 ? std::max(x, 0.0)
           : activation == 4 ? std::max(x, 0.0) * std::max(x, 0.0)
           : activation == 5 ? 1 / (1 + std::exp(-x))
                             : x;
  };
  auto slope_of = [&](int32_t activation, double x) {
    const double step = 1e-4;
    return activation == 3   ? (x > 0 ? 1 : 0)
           : activation == 4 ? 2 * std::max(x, 0.0)
                             : (activate(activation, x + step) - activate(activation, x - step)) / (2 * step);
  };
  constexpr int32_t kActivations = 7;
  each("gated_gradients", k.tier, [&](int64_t n, int32_t activation, Guarded::Side side, size_t plain) {
    Floats gate(n, side), up(n, side), gradient(n, side);
    float* factors = plain != 0 ? nullptr : up.data();
    check(k.gated_gradients(activation, gate.data(), factors, gradient.data(), n) == 0, "status");
    for (int64_t i = 0; i < n; i++) {
      const double x = gate.before(i), value = activate(activation, x);
      const double by_gate = gradient[i] * (plain != 0 ? 1 : up.before(i)) * slope_of(activation, x);
      close(gate[i], by_gate, 4e-6 * (1 + std::abs(by_gate)), i);
      close(up[i], plain != 0 ? up.before(i) : gradient[i] * value, 4e-6 * (1 + std::abs(gradient[i] * value)), i);
    }
  }, kActivations);
  each("elementwise", k.tier, [&](int64_t n, int32_t activation, Guarded::Side side, size_t in_place) {
    Floats gate(n, side), up(n, side), out(n, side, unset), factor(n, side);
    check(k.gated_activation(activation, gate.data(), up.data(), n, out.data(), 0) == 0, "status");
    rounds(k, out.data(), n, side, in_place, [&](void* to, int32_t type) {
      return k.gated_activation(activation, gate.data(), up.data(), n, to, type);
    });
    for (int64_t i = 0; i < n; i++) {
      const double expected = activate(activation, gate[i]);
      close(out[i], expected * up[i], 2e-6 * (1 + std::abs(expected * up[i])), i);
    }
    check(k.gated_activation(activation, gate.data(), nullptr, n, out.data(), 0) == 0, "status");
    rounds(k, out.data(), n, side, in_place, [&](void* to, int32_t type) {
      return k.gated_activation(activation, gate.data(), nullptr, n, to, type);
    });
    for (int64_t i = 0; i < n; i++) {
      const double expected = activate(activation, gate[i]);
      close(out[i], expected, 2e-6 * (1 + std::abs(expected)), i);
    }
    Floats& product = in_place ? factor : out;
    check(k.multiply(up.data(), factor.data(), n, product.data()) == 0, "status");
    for (int64_t i = 0; i < n; i++) {
      close(product[i], static_cast<double>(static_cast<float>(up[i] * factor.before(i))), 0, i);
    }
    check(k.add(gate.data(), up.data(), n) == 0, "status");
    for (int64_t i = 0; i < n; i++) {
      close(gate[i], static_cast<double>(static_cast<float>(gate.before(i) + up[i])), 0, i);
    }
  }, kActivations);
}

void test_rope(const Kernels& k) {
  each("rope", k.tier, [&](int64_t pairs, int32_t extra, Guarded::Side side, size_t back) {
    const int64_t width = 2 * pairs + extra;
    const float turns = back != 0 ? -1 : 1;
    Floats x(2 * 3 * width, side), cosine(2 * pairs, side), sine(2 * pairs, side);
    check(k.rope(x.data(), cosine.data(), sine.data(), 2, 3, width, pairs, turns) == 0, "status");
    for (int64_t i = 0; i < 2 * 3 * width; i++) {
      const int64_t token = i / (3 * width), c = i % width;
      double expected = x.before(i);
      if (c < pairs) {
        expected = expected * cosine[token * pairs + c] -
                   x.before(i + pairs) * sine[token * pairs + c] * static_cast<double>(turns);
      } else if (c < 2 * pairs) {
        expected = expected * cosine[token * pairs + c - pairs] +
                   x.before(i - pairs) * sine[token * pairs + c - pairs] * static_cast<double>(turns);
      }
      close(x[i], expected, 1e-5, i);
    }
  });
  each("rope_neighbours", k.tier, [&](int64_t pairs, int32_t extra, Guarded::Side side, size_t back) {
    const int64_t width = 2 * pairs + extra;
    const float turns = back != 0 ? -1 : 1;
    Floats x(2 * 3 * width, side), cosine(2 * pairs, side), sine(2 * pairs, side);
    check(k.rope_neighbours(x.data(), cosine.data(), sine.data(), 2, 3, width, pairs, turns) == 0, "status");
    for (int64_t i = 0; i < 2 * 3 * width; i++) {
      const int64_t token = i / (3 * width), c = i % width, angle = token * pairs + c / 2;
      double expected = x.before(i);
      if (c < 2 * pairs) {
        const double other = c % 2 == 0 ? -x.before(i + 1) : x.before(i - 1);
        expected = expected * cosine[angle] + other * sine[angle] * static_cast<double>(turns);
      }
      close(x[i], expected, 1e-5, i);
    }
  });
}

void test_cosine(const Kernels& k) {
  each("cosine", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    Floats a(3 * n, side), b(3 * n, side);
    Guarded scratch(9 * sizeof(double), side), out(2 * sizeof(double), side);
    const int32_t offsets[] = {0, 1, 3};
    check(k.cosine(a.data(), b.data(), 3, n, offsets, 2, scratch.as<double>(),
                   out.as<double>()) == 0,
          "status");
    for (int64_t s = 0; s < 2; s++) {
      double ab = 0, aa = 0, bb = 0;
      for (int64_t i = offsets[s] * n; i < offsets[s + 1] * n; i++) {
        ab += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
      }
      close(out.as<double>()[s], ab / std::sqrt(aa * bb), 1e-6, s);
    }
  });
}

void test_logits(const Kernels& k) {
  each("logits", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    for (double cap : {0.0, 0.5, 30.0}) {
      for (bool scaled : {false, true}) {
        Floats x(2 * n, side, [] { return 4 * normal(); }), factors(n, side);
        check(k.logits(x.data(), scaled ? factors.data() : nullptr, 2, n, 0.5f,
                       static_cast<float>(cap)) == 0,
              "status");
        for (int64_t i = 0; i < 2 * n; i++) {
          const double product = 0.5 * x.before(i) * (scaled ? factors[i % n] : 1);
          const double expected = cap == 0 ? product : cap * std::tanh(product / cap);
          close(x[i], expected, 2e-6 * std::abs(expected), i);
        }
      }
    }
  });
}

void test_route(const Kernels& k) {
  each("route", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t) {
    // Three rows of n logits, of which many are equal and some are NaN or infinitely small.
    Floats logits(3 * n, side, [] {
      const float x = std::round(2 * normal());
      return x == 3 ? unset() : x == -3 ? -INFINITY : x;
    });
    const bool normalised = dtype == 2;
    const bool sigmoid = side == Guarded::kBeginning;
    const double factor = sigmoid ? 2.5 : 1, added = n % 5 == 0 ? 0.25 : 0;
    // A correction for the rows of an odd number of experts, whose steps are larger than any rounding.
    const bool corrected = n % 2 == 1;
    int64_t place = 0;
    Floats correction(n, side, [&] { return static_cast<float>(10 * (place++ * 7 % n)); });
    // Two of four groups, or one of three; without a correction the sums of two scores may tie.
    const int64_t groups = n % 4 == 0 && dtype != 0 ? 4 : n % 3 == 0 && dtype != 0 ? 3 : 1;
    const int64_t staying = groups / 2 + (groups == 1);
    const int32_t best = corrected && n / groups > 1 ? 2 : 1;
    const int64_t chosen = dtype == 0 ? n : std::min((n + 2) / 3, n / groups * staying);
    Guarded indices(static_cast<size_t>(3 * chosen) * 4, side), shares(static_cast<size_t>(3 * chosen) * 4, side);
    check(k.route(logits.data(), corrected ? correction.data() : nullptr, 3, n, chosen, sigmoid, normalised, factor, added,
                  static_cast<int32_t>(groups), static_cast<int32_t>(staying), best, indices.as<int32_t>(),
                  shares.as<float>()) == 0,
          "status");
    for (int64_t r = 0; r < 3; r++) {
      auto logit = [&](int64_t e) { return logits[r * n + e]; };
      double shift = -INFINITY;
      for (int64_t e = 0; e < n; e++) {
        shift = logit(e) > shift ? logit(e) : shift;
      }
      shift = shift == -INFINITY ? 0 : shift;
      auto weight = [&](int64_t e) {
        const double x = static_cast<double>(logit(e));
        return sigmoid ? 1 / (1 + std::exp(-x)) : std::exp(x - shift);
      };
      const bool ratios = sigmoid || (normalised && !corrected && added == 0);
      double all = ratios ? 1 : 0;
      for (int64_t e = 0; e < n && !ratios; e++) {
        all += weight(e);
      }
      auto key = [&](int64_t e) {
        const double k = corrected ? weight(e) / all + correction[e] : static_cast<double>(logit(e));
        return std::isnan(k) ? -INFINITY : k;
      };
      std::vector<int64_t> order;
      for (int64_t e = 0; e < n; e++) {
        order.push_back(e);
      }
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) > key(b); });
      std::vector<double> sums(static_cast<size_t>(groups));
      std::vector<int64_t> best_groups, seen(static_cast<size_t>(groups));
      for (const int64_t e : order) {
        const auto g = static_cast<size_t>(e / (n / groups));
        sums[g] += seen[g]++ < best ? key(e) : 0;
      }
      for (int64_t g = 0; g < groups; g++) {
        best_groups.push_back(g);
      }
      auto sum = [&](int64_t g) { return sums[static_cast<size_t>(g)]; };
      std::stable_sort(best_groups.begin(), best_groups.end(), [&](int64_t a, int64_t b) { return sum(a) > sum(b); });
      const auto out = best_groups.begin() + staying;
      std::erase_if(order, [&](int64_t e) { return std::find(out, best_groups.end(), e / (n / groups)) != best_groups.end(); });
      double total = normalised ? 0 : 1;
      for (int64_t i = 0; i < chosen && normalised; i++) {
        total += weight(order[static_cast<size_t>(i)]) / all;
      }
      total = (total < 1e-20 && (sigmoid || corrected) ? 1e-20 : total) + (normalised ? added : 0);
      for (int64_t i = 0; i < chosen; i++) {
        const int64_t expert = order[static_cast<size_t>(i)];
        check(indices.as<int32_t>()[r * chosen + i] == expert, "expert");
        close(static_cast<double>(shares.as<float>()[r * chosen + i]), factor * weight(expert) / all / total,
              1e-6 * factor, r * chosen + i);
      }
    }
  });
}

void test_add_rows(const Kernels& k) {
  each("add_rows", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    Floats x(5 * n, side), y(3 * n, side), factors(3, side);
    const int32_t rows[] = {0, 2, 4};
    check(k.add_rows(x.data(), y.data(), rows, factors.data(), 3, n) == 0, "status");
    for (int64_t r = 0; r < 5; r++) {
      for (int64_t i = 0; i < n; i++) {
        const double more = r % 2 == 0 ? factors[r / 2] * y[r / 2 * n + i] : 0;
        close(x[r * n + i], x.before(r * n + i) + more, r % 2 == 0 ? 2e-6 : 0, r * n + i);
      }
    }
  });
}

void test_copy_columns(const Kernels& k) {
  each("copy_columns", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    // From the second column of n + 1 to the second of n + 4, three of which become 0, or none of n + 1.
    for (const int64_t rest : {0, 3}) {
      const int64_t width = n + 1 + rest;
      Floats x(2 * (n + 1), side);
      Weight out(dtype, 6 * width, side, shift);
      std::vector<double> before;
      for (int64_t i = 0; i < 6 * width; i++) {
        before.push_back(out[i]);
      }
      unsigned char* second = out.memory.bytes() + size_of(dtype);
      check(k.copy_columns(x.data() + 1, 2, 3, n + 1, n, rest, second, dtype, width) == 0, "status");
      for (int64_t i = 0; i < 6 * width; i++) {
        const int64_t row = i / width, column = i % width;
        const double copied = column > n ? 0 : x[row / 3 * (n + 1) + column];
        const double tolerance = dtype == 0 ? 0 : 1e-2 * std::abs(copied) + 1e-7;
        close(out[i], column == 0 ? before[static_cast<size_t>(i)] : copied, column == 0 ? 0 : tolerance, i);
      }
    }
  });
}

void test_gather_columns(const Kernels& k) {
  each("gather_columns", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Weight from(dtype, 3 * n, side, shift), out(dtype, 3 * (n + 2), side, shift);
    std::vector<double> before;
    std::vector<int32_t> columns;
    for (int64_t i = 0; i < 3 * (n + 2); i++) {
      before.push_back(out[i]);
    }
    for (int64_t i = 0; i < n; i++) {
      columns.push_back(static_cast<int32_t>((5 * i + 2) % n));
    }
    unsigned char* second = out.memory.bytes() + size_of(dtype);
    check(k.gather_columns(from.data(), dtype, columns.data(), n, 3, n, n + 2, second) == 0, "status");
    for (int64_t i = 0; i < 3 * (n + 2); i++) {
      const int64_t row = i / (n + 2), column = i % (n + 2) - 1;
      const bool kept = column < 0 || column == n;
      close(out[i], kept ? before[static_cast<size_t>(i)] : from[row * n + columns[static_cast<size_t>(column)]], 0, i);
    }
  });
}

void test_log_probability(const Kernels& k) {
  each("log_probability", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    // Two panels of n and n + 1 entries; the second panel's logits may be larger.
    const int64_t all = 2 * n + 1;
    Floats first(2 * n, side), second(2 * (n + 1), side, [] { return 3 * normal(); });
    const int32_t targets[] = {static_cast<int32_t>(n), -1};
    float most[] = {-INFINITY, -INFINITY}, target[] = {0, 0};
    double total[] = {0, 0};
    check(k.log_probability(first.data(), 2, n, 0, targets, most, total, target) == 0, "status");
    check(k.log_probability(second.data(), 2, n + 1, n, targets, most, total, target) == 0, "status");
    double sum = 0;
    for (int64_t i = 0; i < all; i++) {
      sum += std::exp(i < n ? first[i] : second[i - n]);
    }
    close(static_cast<double>(target[0]), second[0], 0, 0);
    close(static_cast<double>(most[0]) + std::log(total[0]), std::log(sum), 2e-6, 0);
    close(total[1], 0, 0, 1);
  });
}

void test_sample(const Kernels& k) {
  each("sample", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    // Some parts, of which the last has n entries.
    const int64_t all = (n % 3) * 1024 + n;
    Floats logits(3 * all, side, [] { return 3 * normal(); });
    const double shares[] = {0, 0.6, 0.999999999};
    const auto count = static_cast<size_t>((all + 1023) / 1024);
    Guarded parts(3 * count * sizeof(double), side), tokens(3 * sizeof(int32_t), side);
    for (float factor : {0.0f, 1.0f, 0.3f}) {
      check(k.sample(logits.data(), 3, all, factor, shares, parts.as<double>(), tokens.as<int32_t>()) == 0, "status");
      for (int64_t r = 0; r < 3; r++) {
        const float* row = logits.data() + r * all;
        const int64_t token = tokens.as<int32_t>()[r];
        check(token >= 0 && token < all, "token");
        if (factor == 0) {
          check(std::max_element(row, row + all) - row == token, "largest");
          continue;
        }
        double before = 0, total = 0;
        for (int64_t i = 0; i < all; i++) {
          const double weight = std::exp(static_cast<double>(factor) * static_cast<double>(row[i]));
          total += weight;
          before += i < token ? weight : 0;
        }
        const double weight = std::exp(static_cast<double>(factor) * static_cast<double>(row[token]));
        check(before / total <= shares[r] + 1e-6, "share");
        check((before + weight) / total > shares[r] - 1e-6, "share");
      }
    }
  });
}

void test_kl_divergence(const Kernels& k) {
  each("kl_divergence", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    // Two panels of n and n + 1 entries; the second panel's logits may be larger. The second row is equal in
    // both models.
    auto large = [] { return 3 * normal(); };
    Floats first(2 * n, side), second(2 * (n + 1), side, large);
    Floats first_reference(2 * n, side), second_reference(2 * (n + 1), side, large);
    const auto bytes = static_cast<size_t>(n) * sizeof(float);
    std::memcpy(first_reference.data() + n, first.data() + n, bytes);
    std::memcpy(second_reference.data() + n + 1, second.data() + n + 1, bytes + sizeof(float));
    Guarded memory(10 * sizeof(double), side);
    double* state = memory.as<double>();
    check(k.kl_divergence(first.data(), first_reference.data(), 2, n, 0, state) == 0, "status");
    check(k.kl_divergence(second.data(), second_reference.data(), 2, n + 1, n, state) == 0, "status");
    double sum = 0, reference_sum = 0, difference = 0;
    for (int64_t i = 0; i < 2 * n + 1; i++) {
      const double h = i < n ? first[i] : second[i - n];
      const double r = i < n ? first_reference[i] : second_reference[i - n];
      sum += std::exp(h);
      reference_sum += std::exp(r);
      difference += std::exp(r) * (r - h);
    }
    close(state[0] + std::log(state[1]), std::log(reference_sum), 2e-6, 0);
    close(state[2] / state[1], difference / reference_sum, 2e-5, 0);
    close(state[3] + std::log(state[4]), std::log(sum), 2e-6, 0);
    close(state[5], state[8], 0, 1);
    close(state[6], state[9], 0, 1);
    close(state[7], 0, 0, 1);
  });
  current = "kl_divergence of what is impossible";
  const float logits[] = {1, -INFINITY, 2, -INFINITY}, reference[] = {1, 2, -INFINITY, -INFINITY};
  double state[5];
  check(k.kl_divergence(logits, reference, 1, 4, 0, state) == 0, "status");
  close(state[2], INFINITY, 0, 0);
  check(k.kl_divergence(reference, reference, 1, 4, 0, state) == 0, "status");
  close(state[2], 0, 0, 0);
}

void test_rows_and_columns(const Kernels& k) {
  each("inverse_rms", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Weight weight(dtype, 2 * n, side, shift);
    Floats lengths(2, side, unset);
    check(k.inverse_rms(weight.data(), dtype, 1e-6, 2, n, lengths.data()) == 0, "status");
    for (int64_t r = 0; r < 2; r++) {
      double mean = 0;
      for (int64_t i = r * n; i < (r + 1) * n; i++) {
        mean += weight[i] * weight[i] / static_cast<double>(n);
      }
      close(lengths[r], 1 / std::sqrt(std::fmax(mean, 1e-6)), 1e-3, r);
    }
    Floats x(3 * n, side), out(3, side, unset);
    std::memset(x.data(), 0, static_cast<size_t>(n) * 4);
    x.data()[3 * n - 1] = unset();
    check(k.inverse_rms(x.data(), 0, 1e-6, 3, n, out.data()) == 0, "status");
    double squares = 0;
    for (int64_t i = n; i < 2 * n; i++) {
      squares += x[i] * x[i] / static_cast<double>(n);
    }
    const double expected = 1 / std::sqrt(std::fmax(squares, 1e-6));
    close(out[0], 1e3, 1e-3, 0);
    close(out[1], expected, 1e-6 * expected, 1);
    check(std::isnan(out[2]), "NaN is kept");
  });
  each("scaled_difference", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t in_place) {
    Floats a(2 * n, side), b(2 * n, side), scale(2, side), own(2 * n, side, unset);
    Floats& out = in_place ? b : own;
    check(k.scaled_difference(a.data(), b.data(), scale.data(), 2, n, out.data()) == 0, "status");
    for (int64_t i = 0; i < 2 * n; i++) {
      close(out[i], scale[i / n] * (a[i] - b.before(i)), 1e-5, i);
    }
    check(k.scaled_difference(a.data(), nullptr, scale.data(), 2, n, a.data()) == 0, "status");
    for (int64_t i = 0; i < 2 * n; i++) {
      close(a[i], scale[i / n] * a.before(i), 1e-6, i);
    }
  });
  each("add_squares", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t) {
    const int64_t rows = 1 + 18 * dtype;
    Floats x(rows * n, side), squares(n, side), columns(n, side);
    check(k.add_squares(x.data(), rows, n, squares.data()) == 0, "status");
    check(k.add_columns(x.data(), rows, n, columns.data()) == 0, "status");
    for (int64_t i = 0; i < n; i++) {
      double sum = columns.before(i), sum_of_squares = squares.before(i);
      for (int64_t r = 0; r < rows; r++) {
        sum += x[r * n + i];
        sum_of_squares += x[r * n + i] * x[r * n + i];
      }
      close(squares[i], sum_of_squares, 1e-6 * (4 + std::abs(sum_of_squares)), i);
      close(columns[i], sum, 1e-5, i);
    }
  });
  each("row_products", k.tier, [&](int64_t n, int32_t, Guarded::Side side, size_t) {
    Floats a(2 * n, side), b(2 * n, side), out(2, side, unset);
    check(k.row_products(a.data(), b.data(), 2, n, out.data()) == 0, "status");
    double squares = 0, total;
    for (int64_t r = 0; r < 2; r++) {
      double sum = 0;
      for (int64_t i = r * n; i < (r + 1) * n; i++) {
        sum += a[i] * b[i];
        squares += a[i] * a[i];
      }
      close(out[r], sum, 1e-6 * static_cast<double>(n) + 1e-6, r);
    }
    check(k.sum_of_squares(a.data(), 2 * n, &total) == 0, "status");
    close(total, squares, 1e-6 * squares, 0);
  });
}

void test_norm_gradient(const Kernels& k) {
  each("norm_gradient", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    const bool centred = shift != 0;
    const int64_t sets = centred ? 2 : 1, rows = n % 5 == 0 ? 140 : 4;
    const double eps = 0.1, offset = dtype == 1 ? 0 : 1;
    Floats x(rows * n, side), gradient(rows * n, side);
    Weight weight(dtype, sets * n, side, shift);
    Floats weights(sets * n, side), biases(sets * n, side), out(rows * n, side, unset);
    Floats scratch(k.norm_gradient_scratch(rows, n, sets), side, unset);
    check(k.norm_gradient(x.data(), weight.data(), dtype, centred, eps, static_cast<float>(offset), rows, n, sets,
                          gradient.data(), scratch.data(), weights.data(), centred ? biases.data() : nullptr,
                          out.data()) == 0,
          "status");
    std::vector<double> weight_sums, bias_sums;
    for (int64_t i = 0; i < sets * n; i++) {
      weight_sums.push_back(weights.before(i));
      bias_sums.push_back(biases.before(i));
    }
    const double count = static_cast<double>(n);
    for (int64_t r = 0; r < rows; r++) {
      double mean = 0, variance = 0, total = 0, product = 0;
      for (int64_t i = 0; i < n && centred; i++) {
        mean += x[r * n + i] / count;
      }
      for (int64_t i = 0; i < n; i++) {
        variance += (x[r * n + i] - mean) * (x[r * n + i] - mean) / count;
      }
      const double deviation = std::sqrt(variance + eps);
      auto g = [&](int64_t i) { return gradient[r * n + i] * (offset + weight[r % sets * n + i]); };
      auto normal_of = [&](int64_t i) { return (x[r * n + i] - mean) / deviation; };
      for (int64_t i = 0; i < n; i++) {
        total += centred ? g(i) / count : 0;
        product += g(i) * normal_of(i) / count;
        weight_sums[static_cast<size_t>(r % sets * n + i)] += gradient[r * n + i] * normal_of(i);
        bias_sums[static_cast<size_t>(r % sets * n + i)] += gradient[r * n + i];
      }
      for (int64_t i = 0; i < n; i++) {
        close(out[r * n + i], (g(i) - total - normal_of(i) * product) / deviation, 1e-4, i);
      }
    }
    for (int64_t i = 0; i < sets * n; i++) {
      close(weights[i], weight_sums[static_cast<size_t>(i)], 1e-4, i);
      close(biases[i], centred ? bias_sums[static_cast<size_t>(i)] : biases.before(i), 1e-4, i);
    }
  });
}

void test_distillation_gradient(const Kernels& k) {
  each("distillation_gradient", k.tier, [&](int64_t n, int32_t option, Guarded::Side side, size_t scaled) {
    const double share = option / 2.0, cap = option == 1 ? 3 : 0, scale = 0.5;
    Floats logits(2 * n, side), reference(2 * n, side), factors(n, side);
    const int32_t targets[] = {static_cast<int32_t>(n - 1), -1};
    double state[10];
    check(k.kl_divergence(logits.data(), reference.data(), 2, n, 0, state) == 0, "status");
    check(k.distillation_gradient(logits.data(), reference.data(), 2, n, state, targets, share,
                                  scaled ? factors.data() : nullptr, scale, static_cast<float>(cap)) == 0,
          "status");
    for (int64_t r = 0; r < 2; r++) {
      double total = 0, reference_total = 0;
      for (int64_t i = r * n; i < (r + 1) * n; i++) {
        total += std::exp(logits.before(i));
        reference_total += std::exp(reference[i]);
      }
      for (int64_t i = r * n; i < (r + 1) * n; i++) {
        const double h = logits.before(i), p = std::exp(h) / total;
        const double label = targets[r] < 0 ? 0 : share * (p - (i % n == targets[r] ? 1 : 0));
        const double slope = cap == 0 ? 1 : 1 - h * h / (cap * cap);
        const double difference = (1 - share) * (p - std::exp(reference[i]) / reference_total) + label;
        close(logits[i], scale * slope * (scaled ? factors[i % n] : 1) * difference, 2e-6, i);
      }
    }
  });
}

void test_adam_w(const Kernels& k) {
  each("adam_w", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    Floats gradient(n, side), mean(n, side), square(n, side, [] { return std::abs(normal()); }), master(n, side);
    Weight weight(dtype, n, side, shift);
    check(k.adam_w(gradient.data(), mean.data(), square.data(), master.data(), const_cast<void*>(weight.data()), dtype,
                   n, 0.5, 0.9, 0.95, 0.99, 0.1, 0.25, 1e-3, 7) == 0,
          "status");
    const double epsilon = dtype == 0 ? 0 : dtype == 1 ? 0x1p-11 : 0x1p-8;
    for (int64_t i = 0; i < n; i++) {
      const double g = 0.5 * gradient.before(i);
      const double m = 0.9 * mean.before(i) + 0.1 * g, s = 0.95 * square.before(i) + 0.05 * g * g;
      const double moved = 0.1 * m / (std::sqrt(s) / 0.25 + 1e-3);
      close(gradient[i], 0, 0, i);
      close(mean[i], m, 1e-6, i);
      close(square[i], s, 2e-6, i);
      close(master[i], 0.99 * master.before(i) - moved, 1e-5, i);
      close(weight[i], master[i], epsilon * std::abs(master[i]) + 0x1p-25, i);
    }
  });
}

// What a code stands for, relative to the scale of its block.
double moment(const float* row, bool square, int64_t i) {
  unsigned char code;
  std::memcpy(&code, reinterpret_cast<const unsigned char*>(row) + (square ? 264 : 8) + i, 1);
  const int bits = square ? 8 : 7, magnitude = code & ((1 << bits) - 1);
  if (magnitude == 0) {
    return 0;
  }
  const int e = 31 - __builtin_clz(static_cast<unsigned>(magnitude));
  const double share = std::ldexp(magnitude + 0.5, -e) - 1;
  return (code == magnitude ? 1 : -1) * static_cast<double>(row[square]) * std::pow(10, e - bits + 1) *
         (0.1 + 0.9 * share);
}

// Without masters, whose bits the tests of the backends compare, weights lie next to the exact number.
void test_adam_w_8bit(const Kernels& k) {
  each("adam_w_8bit", k.tier, [&](int64_t n, int32_t dtype, Guarded::Side side, size_t shift) {
    for (bool masters : {true, false}) {
      Floats gradient(n, side), master(n, side);
      Weight weight(dtype, n, side, shift);
      std::vector<double> before;
      for (int64_t i = 0; i < n; i++) {
        before.push_back(masters ? master.before(i) : weight[i]);
      }
      const int64_t blocks = (n + 255) / 256;
      Floats moments(130 * blocks, side, [] {
        const uint32_t codes = static_cast<uint32_t>(generator());
        float word;
        std::memcpy(&word, &codes, 4);
        return word;
      });
      for (int64_t block = 0; block < blocks; block++) {
        moments.data()[130 * block] = 2;
        moments.data()[130 * block + 1] = 0.5f;
      }
      const std::vector<float> old(moments.data(), moments.data() + 130 * blocks);
      check(k.adam_w_8bit(gradient.data(), moments.data(), masters ? master.data() : nullptr,
                          const_cast<void*>(weight.data()), dtype, n, 0.5, 0.9, 0.95, 0.99, 0.1, 0.25, 1e-3, 7) == 0,
            "status");
      const double epsilon = dtype == 0 ? 0 : dtype == 1 ? 0x1p-11 : 0x1p-8;
      for (int64_t i = 0; i < n; i++) {
        const float* from = old.data() + 130 * (i / 256);
        const float* to = moments.data() + 130 * (i / 256);
        const double g = 0.5 * gradient.before(i);
        const double m = 0.9 * moment(from, false, i % 256) + 0.1 * g;
        const double s = 0.95 * moment(from, true, i % 256) + 0.05 * g * g;
        const double w = 0.99 * before[static_cast<size_t>(i)] - 0.1 * m / (std::sqrt(s) / 0.25 + 1e-3);
        close(gradient[i], 0, 0, i);
        // A small mean of squares makes a large weight, which is rounded to f32, as the difference in front of it is.
        const double rounding = 0x1p-23 * std::abs(w);
        if (masters) {
          close(master[i], w, 1e-5 + rounding, i);
          close(weight[i], master[i], epsilon * std::abs(master[i]) + 0x1p-25, i);
        } else {
          close(weight[i], w, 2 * epsilon * std::abs(w) + 1e-5 + rounding, i);
        }
        close(moment(to, false, i % 256), m, 0.6 * std::abs(m) + 1.2e-5 * static_cast<double>(to[0]), i);
        close(moment(to, true, i % 256), s, 0.6 * s + 1.2e-6 * static_cast<double>(to[1]), i);
        // The two terms of a mean may cancel each other but for their rounding.
        check(static_cast<double>(to[0]) >= 0.999999 * std::abs(m) - 1e-6, "scale of means");
        check(static_cast<double>(to[1]) >= 0.999999 * s, "scale of squares");
      }
    }
  });
}

void test_clamped_gate(const Kernels& k) {
  for (int64_t n : {1, 7, 8, 15, 16, 17, 33, 100}) {
    for (Guarded::Side side : {Guarded::kEnd, Guarded::kBeginning}) {
      current = "clamped_gate_" + std::to_string(k.tier) + " n=" + std::to_string(n);
      Floats gate_up(2 * n, side), out(n, side, unset);
      for (int64_t i = 0; i < 2 * n; i++) {
        gate_up.data()[i] *= 8;
      }
      check(k.clamped_gate(gate_up.data(), n, 1.702f, 7, out.data()) == 0, "status");
      for (int64_t i = 0; i < n; i++) {
        const double gate = std::fmin(gate_up[2 * i], 7), up = std::fmax(-7, std::fmin(gate_up[2 * i + 1], 7));
        const double expected = gate * (up + 1) / (1 + std::exp(-static_cast<double>(1.702f) * gate));
        close(out[i], expected, 3e-6 * std::abs(expected) + 1e-30, i);
      }
      // At the limits the gradient is that of the inner side.
      gate_up.data()[0] = 7;
      gate_up.data()[1] = -7;
      Floats both(2 * n, side), gradient(n, side);
      std::copy(gate_up.data(), gate_up.data() + 2 * n, both.data());
      check(k.clamped_gate_gradients(both.data(), n, 1.702f, 7, gradient.data()) == 0, "status");
      for (int64_t i = 0; i < n; i++) {
        const double gate = std::fmin(gate_up[2 * i], 7), up = std::fmax(-7, std::fmin(gate_up[2 * i + 1], 7));
        const double slope = 1.702f, share = 1 / (1 + std::exp(-slope * gate));
        const double first = gradient[i] * (up + 1) * share, second = first * slope * gate / (1 + std::exp(slope * gate));
        const double by_up = gradient[i] * gate * share;
        close(both[2 * i], gate_up[2 * i] > 7 ? 0 : first + second,
              3e-6 * (std::abs(first) + std::abs(second)) + 1e-30, i);
        close(both[2 * i + 1], std::abs(gate_up[2 * i + 1]) > 7 ? 0 : by_up, 3e-6 * std::abs(by_up) + 1e-30, i);
      }
    }
  }
}

// Attention of a kernel, `tolerance` from that of plain loops.
void test_attention(const std::string& name, decltype(&laco_attention_0) attention,
                    decltype(&laco_attention_scratch_0) attention_scratch, double tolerance) {
  for (int64_t width : {1, 3, 4, 7, 8, 15, 16, 17, 32, 33, 64, 80, 128}) {
    for (int64_t window : {0, 1, 5, 70}) {
      for (Guarded::Side side : {Guarded::kEnd, Guarded::kBeginning}) {
        current = name + " width=" + std::to_string(width) + " window=" + std::to_string(window);
        const int64_t heads = 6, key_heads = 2, sequences = 3;
        const int32_t offsets[] = {0, 1, 38, 41}, past[] = {0, 0, 90}, keys[] = {0, 1, 38, 131};
        Floats query(41 * heads * width, side), key(131 * key_heads * width, side),
            value(131 * key_heads * width, side), out(41 * heads * width, side, unset),
            log_sums(41 * heads, side, unset);
        Floats scratch(threads() * attention_scratch(width), side, unset);
        const float scale = 1 / std::sqrt(static_cast<float>(width));
        const double cap = window == 5 ? 2 : 0;
        const float slopes[] = {1, 0.5f, 0.25f, 0.1f, 0.01f, 0};
        const float all_sinks[] = {-1, 0.5f, 2, -0x1p120f, 5, 0};
        const bool alibi = window == 70 || width == 16, sinks = window == 1 || width == 33;
        check(attention(query.data(), key.data(), value.data(), heads, key_heads, width, window, scale,
                        static_cast<float>(cap), alibi ? slopes : nullptr, sinks ? all_sinks : nullptr, offsets, keys, past, sequences, scratch.data(), out.data(),
                          width % 2 == 0 ? log_sums.data() : nullptr) == 0,
              "status");
        for (int64_t s = 0; s < sequences; s++) {
          for (int64_t t = offsets[s]; t < offsets[s + 1]; t++) {
            const int64_t last = past[s] + t - offsets[s];
            const int64_t from = window == 0 || last - window + 1 < 0 ? 0 : last - window + 1;
            for (int64_t h = 0; h < heads; h++) {
              const int64_t q = (t * heads + h) * width;
              std::vector<double> weights;
              double total = sinks ? std::exp(static_cast<double>(all_sinks[h])) : 0;
              auto row = [&](int64_t j) {
                return ((keys[s] + j) * key_heads + h / (heads / key_heads)) * width;
              };
              for (int64_t j = from; j <= last; j++) {
                double score = 0;
                for (int64_t c = 0; c < width; c++) {
                  score += query[q + c] * key[row(j) + c];
                }
                score *= static_cast<double>(scale);
                score = cap == 0 ? score : cap * std::tanh(score / cap);
                const double fall = alibi ? static_cast<double>(slopes[h]) * static_cast<double>(last - j) : 0;
                weights.push_back(std::exp(score - fall));
                total += weights.back();
              }
              for (int64_t c = 0; c < width; c++) {
                double sum = 0;
                for (int64_t j = from; j <= last; j++) {
                  sum += weights[static_cast<size_t>(j - from)] * value[row(j) + c];
                }
                close(out[q + c], sum / total, tolerance, q + c);
              }
              if (width % 2 == 0) {
                close(log_sums[t * heads + h], std::log(total), tolerance, t * heads + h);
              }
            }
          }
        }
      }
    }
  }
}

// A value that a query does not see changes nothing of the query's output, whatever the value is.
void test_unseen_values() {
  current = "attention_tiles of values that are not finite";
  constexpr int64_t tokens = 150, width = 40;
  const int32_t offsets[] = {0, tokens}, past[] = {0};
  Floats query(tokens * width, Guarded::kEnd), key(tokens * width, Guarded::kEnd), value(tokens * width, Guarded::kEnd),
      out(tokens * width, Guarded::kEnd, unset), expected(tokens * width, Guarded::kEnd, unset),
      scratch(threads() * laco_attention_tiles_scratch(width), Guarded::kEnd, unset);
  auto attend = [&](float* to) {
    check(laco_attention_tiles(query.data(), key.data(), value.data(), 1, 1, width, 0, 0.2f, 0, nullptr, nullptr,
                               offsets, offsets, past, 1, scratch.data(), to, nullptr) == 0,
          "status");
  };
  attend(expected.data());
  constexpr int64_t first = 140;
  value.data()[first * width + 3] = std::numeric_limits<float>::quiet_NaN();
  value.data()[first * width + 4] = -std::numeric_limits<float>::infinity();
  attend(out.data());
  for (int64_t i = 0; i < tokens * width; i++) {
    const int64_t column = i % width;
    if (i / width < first || (column != 3 && column != 4)) {
      close(out[i], static_cast<double>(expected[i]), 1.5e-2, i);
    } else {
      check(column == 3 ? std::isnan(out[i]) : std::isinf(out[i]), "a value that is seen");
    }
  }
}

// Three sequences of 1, 2 and 6 tokens, new ones and, with states, some that have rows of earlier tokens.
void test_causal_convolution(const Kernels& k) {
  each("causal_convolution", k.tier, [&](int64_t n, int32_t wider, Guarded::Side side, size_t has_states) {
    const int64_t width = 1 + 2 * wider, tokens = 9, slots = 5, state = (width - 1) * n;
    const int32_t offsets[] = {0, 1, 3, 9}, key_offsets[] = {0, 18, 36, 45};
    const int32_t past[] = {has_states ? 7 : 0, 0, has_states ? 1 : 0};
    Floats x(tokens * n, side), weight(n * width, side), gradient(tokens * n, side), states(slots * state, side),
        out(tokens * n, side, unset), by_x(tokens * n, side, unset), by_weight(n * width, side),
        scratch(threads() * k.causal_convolution_scratch(width), side, unset);
    check(k.causal_convolution(x.data(), weight.data(), n, width, offsets, past, key_offsets, 9, 3,
                               has_states ? states.data() : nullptr, scratch.data(), out.data()) == 0,
          "status");
    // Row t of sequence s, counted from its first token here; earlier rows are negative.
    auto row = [&](int64_t s, int64_t t, int64_t c) {
      return t >= 0           ? x[(offsets[s] + t) * n + c]
             : past[s] == 0 ? 0
                            : states.before(2 * s * state + (t + width - 1) * n + c);
    };
    for (int64_t s = 0; s < 3; s++) {
      const int64_t length = offsets[s + 1] - offsets[s];
      for (int64_t c = 0; c < n; c++) {
        for (int64_t t = 0; t < length; t++) {
          double sum = 0;
          for (int64_t i = 0; i < width; i++) {
            sum += weight[c * width + i] * row(s, t - width + 1 + i, c);
          }
          close(out[(offsets[s] + t) * n + c], sum, 1e-5, c);
        }
        for (int64_t i = 0; i < width - 1; i++) {
          const int64_t at = 2 * s * state + i * n + c;
          close(states[at], has_states ? row(s, length - width + 1 + i, c) : states.before(at), 0, at);
        }
      }
    }
    for (int64_t i = 0; i < slots * state; i++) {
      if (i / state % 2 != 0) {
        close(states[i], states.before(i), 0, i);
      }
    }
    check(k.causal_convolution_gradient(x.data(), weight.data(), n, width, offsets, 3, gradient.data(), scratch.data(),
                                        has_states ? nullptr : by_weight.data(), by_x.data()) == 0,
          "status");
    std::vector<double> rows(by_x.start.size(), 0), weights(by_weight.start.begin(), by_weight.start.end());
    for (int64_t s = 0; s < 3; s++) {
      for (int64_t t = offsets[s]; t < offsets[s + 1]; t++) {
        for (int64_t i = 0; i < width; i++) {
          const int64_t from = t - width + 1 + i;
          for (int64_t c = 0; c < n && from >= offsets[s]; c++) {
            rows[static_cast<size_t>(from * n + c)] += weight[c * width + i] * gradient[t * n + c];
            weights[static_cast<size_t>(c * width + i)] += has_states ? 0 : x[from * n + c] * gradient[t * n + c];
          }
        }
      }
    }
    for (int64_t i = 0; i < tokens * n; i++) {
      close(by_x[i], rows[static_cast<size_t>(i)], 1e-5, i);
    }
    for (int64_t i = 0; i < n * width; i++) {
      close(by_weight[i], weights[static_cast<size_t>(i)], 1e-5, i);
    }
  });
}

// Plain loops of the gated delta rule over one head of one sequence, and its derivatives as they are defined.
struct PlainDelta {
  int64_t key, value;
  std::vector<double> state;  // [key, value]

  struct Token {
    std::vector<double> query, key, value;  // as they are given
    double decay, rate, log_decay, bias;
    std::vector<double> gradient;  // by the output
    // Results.
    std::vector<double> out, error, by_query, by_key, by_value;
    double by_decay = 0, by_rate = 0, by_log_decay = 0;
    // In between.
    std::vector<double> before, decayed, behind;  // the state
    double logarithm = 0, share = 0, written = 0;
  };

  static double length(const std::vector<double>& x) {
    double squares = 1e-6;
    for (double v : x) {
      squares += v * v;
    }
    return std::sqrt(squares);
  }

  void attend(Token& token) {
    const auto n = static_cast<size_t>(key), width = static_cast<size_t>(value);
    const double input = token.decay + token.bias, root = std::sqrt(static_cast<double>(key));
    token.logarithm = -std::exp(token.log_decay) * (std::max(input, 0.0) + std::log1p(std::exp(-std::abs(input))));
    token.share = std::exp(token.logarithm);
    token.written = 1 / (1 + std::exp(-token.rate));
    token.before = state;
    for (double& v : state) {
      v *= token.share;
    }
    token.decayed = state;
    token.error = token.value;
    token.out.assign(width, 0);
    for (size_t j = 0; j < width; j++) {
      for (size_t i = 0; i < n; i++) {
        token.error[j] -= state[i * width + j] * token.key[i] / length(token.key);
      }
      for (size_t i = 0; i < n; i++) {
        state[i * width + j] += token.written * token.key[i] / length(token.key) * token.error[j];
        token.out[j] += state[i * width + j] * token.query[i] / length(token.query) / root;
      }
    }
    token.behind = state;
  }

  // From the last token to the first, with the gradient by the state in `state`, zeros before.
  void differentiate(Token& token) {
    const auto n = static_cast<size_t>(key), width = static_cast<size_t>(value);
    const double root = std::sqrt(static_cast<double>(key)), input = token.decay + token.bias;
    std::vector<double> query = token.query, unit = token.key;
    for (size_t i = 0; i < n; i++) {
      query[i] /= length(token.query) * root;
      unit[i] /= length(token.key);
    }
    token.by_query.assign(n, 0);
    token.by_key.assign(n, 0);
    token.by_value.assign(width, 0);
    double by_share = 0, by_written = 0;
    for (size_t j = 0; j < width; j++) {
      double read = 0;
      for (size_t i = 0; i < n; i++) {
        token.by_query[i] += token.behind[i * width + j] * token.gradient[j];
        state[i * width + j] += query[i] * token.gradient[j];
        read += state[i * width + j] * unit[i];
      }
      by_written += read * token.error[j];
      token.by_value[j] = token.written * read;
      for (size_t i = 0; i < n; i++) {
        token.by_key[i] += token.written * (state[i * width + j] * token.error[j] - token.decayed[i * width + j] * read);
        state[i * width + j] -= unit[i] * token.written * read;
        by_share += state[i * width + j] * token.before[i * width + j];
        state[i * width + j] *= token.share;
      }
    }
    through_length(token.query, 1 / root, token.by_query);
    through_length(token.key, 1, token.by_key);
    token.by_rate = by_written * token.written * (1 - token.written);
    const double by_logarithm = by_share * token.share;
    token.by_decay = by_logarithm * -std::exp(token.log_decay) / (1 + std::exp(-input));
    token.by_log_decay = by_logarithm * token.logarithm;
  }

  static void through_length(const std::vector<double>& x, double factor, std::vector<double>& gradient) {
    double product = 0;
    for (size_t i = 0; i < x.size(); i++) {
      product += x[i] * gradient[i];
    }
    for (size_t i = 0; i < x.size(); i++) {
      gradient[i] = factor * (gradient[i] - x[i] * product / length(x) / length(x)) / length(x);
    }
  }
};

// Sequences of 1, 18 and 37 tokens, new ones and, with states, some that have a state of earlier tokens.
void test_gated_delta(const Kernels& k, int64_t key, int64_t value, Guarded::Side side, bool has_states) {
  const int64_t key_heads = 2, heads = 4, tokens = 56, slots = 5, size = heads * key * value;
  const int64_t all = 2 * key_heads * key + heads * value;
  const int32_t offsets[] = {0, 1, 19, 56}, key_offsets[] = {0, 180, 360, 450};
  const int32_t past[] = {has_states ? 7 : 0, 0, has_states ? 1 : 0};
  Floats x(tokens * all, side), decay(tokens * heads, side), rate(tokens * heads, side), log_decay(heads, side),
      bias(heads, side), states(slots * size, side), out(tokens * heads * value, side, unset),
      errors(tokens * heads * value, side, unset), gradient(tokens * heads * value, side),
      by_x(tokens * all, side, unset), by_decay(tokens * heads, side, unset), by_rate(tokens * heads, side, unset),
      by_log_decay(tokens * heads, side, unset),
      scratch(threads() * std::max(k.gated_delta_scratch(key, value), k.gated_delta_gradient_scratch(key, value)), side,
              unset);
  check(k.gated_delta(x.data(), decay.data(), rate.data(), log_decay.data(), bias.data(), key_heads, heads, key, value,
                      offsets, past, key_offsets, 90, 3, has_states ? states.data() : nullptr, scratch.data(), out.data(),
                      has_states ? nullptr : errors.data()) == 0,
        "status");
  if (!has_states) {
    check(k.gated_delta_gradient(x.data(), decay.data(), rate.data(), log_decay.data(), bias.data(), key_heads, heads,
                                 key, value, offsets, 3, errors.data(), gradient.data(), scratch.data(), by_x.data(),
                                 by_decay.data(), by_rate.data(), by_log_decay.data()) == 0,
          "status");
  }
  auto row = [](Floats& from, int64_t at, int64_t n) {
    return std::vector<double>(from.data() + at, from.data() + at + n);
  };
  auto agree = [](Floats& actual, int64_t at, const std::vector<double>& expected) {
    for (size_t i = 0; i < expected.size(); i++) {
      close(actual[at + static_cast<int64_t>(i)], expected[i], 2e-5 * (1 + std::abs(expected[i])), at);
    }
  };
  std::vector<double> keys(static_cast<size_t>(tokens * all), 0);  // gradients by queries and keys
  auto add = [&](int64_t at, const std::vector<double>& own) {
    for (size_t i = 0; i < own.size(); i++) {
      keys[static_cast<size_t>(at) + i] += own[i];
    }
  };
  for (int64_t s = 0; s < 3; s++) {
    for (int64_t h = 0; h < heads; h++) {
      const int64_t own = h / (heads / key_heads) * key, state_at = (2 * s * heads + h) * key * value;
      PlainDelta plain = {key, value, std::vector<double>(static_cast<size_t>(key * value), 0)};
      if (past[s] != 0) {
        for (int64_t i = 0; i < key * value; i++) {
          plain.state[static_cast<size_t>(i)] = states.before(state_at + i);
        }
      }
      std::vector<PlainDelta::Token> sequence;
      for (int64_t t = offsets[s]; t < offsets[s + 1]; t++) {
        PlainDelta::Token token;
        token.query = row(x, t * all + own, key);
        token.key = row(x, t * all + key_heads * key + own, key);
        token.value = row(x, t * all + 2 * key_heads * key + h * value, value);
        token.gradient = row(gradient, (t * heads + h) * value, value);
        token.decay = decay[t * heads + h];
        token.rate = rate[t * heads + h];
        token.log_decay = log_decay[h];
        token.bias = bias[h];
        plain.attend(token);
        agree(out, (t * heads + h) * value, token.out);
        if (!has_states) {
          agree(errors, (t * heads + h) * value, token.error);
        }
        sequence.push_back(token);
      }
      if (has_states) {
        agree(states, state_at, plain.state);
        continue;
      }
      std::fill(plain.state.begin(), plain.state.end(), 0);
      for (int64_t t = offsets[s + 1] - 1; t >= offsets[s]; t--) {
        PlainDelta::Token& token = sequence[static_cast<size_t>(t - offsets[s])];
        plain.differentiate(token);
        add(t * all + own, token.by_query);
        add(t * all + key_heads * key + own, token.by_key);
        add(t * all + 2 * key_heads * key + h * value, token.by_value);
        agree(by_decay, t * heads + h, {token.by_decay});
        agree(by_rate, t * heads + h, {token.by_rate});
        agree(by_log_decay, t * heads + h, {token.by_log_decay});
      }
    }
  }
  if (!has_states) {
    agree(by_x, 0, keys);
  }
  for (int64_t i = 0; i < slots * size; i++) {
    if (!has_states || i / size % 2 != 0) {
      close(states[i], states.before(i), 0, i);
    }
  }
}

void test_gated_delta(const Kernels& k) {
  for (int64_t key : {1, 4, 7, 16, 33, 64}) {
    for (int64_t value : {1, 4, 7, 16, 33, 70}) {
      for (Guarded::Side side : {Guarded::kEnd, Guarded::kBeginning}) {
        for (bool has_states : {false, true}) {
          current = "gated_delta_" + std::to_string(k.tier) + " key=" + std::to_string(key) +
                    " value=" + std::to_string(value) + " side=" + std::to_string(side) +
                    " states=" + std::to_string(has_states);
          test_gated_delta(k, key, value, side, has_states);
        }
      }
    }
  }
}

// Gradients of the dot products of the attention's outputs with `gradient`: those of a kernel differ from those of plain
// loops, which have the formulas of the softmax, by at most `tolerance` and `relative` of themselves. `k` has the
// attention.
void test_attention_gradient(const std::string& name, const Kernels& k,
                             decltype(&laco_attention_gradient_0) attention_gradient,
                             decltype(&laco_attention_gradient_scratch_0) attention_gradient_scratch,
                             double tolerance, double relative) {
  auto check_close = [&](Floats& actual, const std::vector<double>& expected) {
    for (size_t i = 0; i < expected.size(); i++) {
      const auto at = static_cast<int64_t>(i);
      close(actual[at], expected[i], tolerance + relative * std::abs(expected[i]), at);
    }
  };
  for (int64_t width : {1, 4, 7, 16, 33, 64}) {
    for (int64_t window : {0, 1, 5, 70}) {
      for (Guarded::Side side : {Guarded::kEnd, Guarded::kBeginning}) {
        current = name + " width=" + std::to_string(width) + " window=" + std::to_string(window);
        const int64_t heads = 6, key_heads = 2, sequences = 3, tokens = 117;
        const int32_t offsets[] = {0, 1, 38, 117}, past[] = {0, 0, 0};
        Floats query(tokens * heads * width, side), key(tokens * key_heads * width, side),
            value(tokens * key_heads * width, side), gradient(tokens * heads * width, side),
            out(tokens * heads * width, side, unset), log_sums(tokens * heads, side, unset),
            products(tokens * heads, side, unset), by_query(tokens * heads * width, side, unset),
            by_key(tokens * key_heads * width, side, unset), by_value(tokens * key_heads * width, side, unset);
        Floats scratch(threads() * std::max(k.attention_scratch(width), attention_gradient_scratch(width)), side, unset);
        const float scale = 1 / std::sqrt(static_cast<float>(width));
        const float cap = window == 5 ? 2 : 0;
        const float slopes[] = {1, 0.5f, 0.25f, 0.1f, 0.01f, 0};
        const float* falls = window == 70 || width == 16 ? slopes : nullptr;
        check(k.attention(query.data(), key.data(), value.data(), heads, key_heads, width, window, scale, cap, falls,
                          nullptr, offsets, offsets, past, sequences, scratch.data(), out.data(), log_sums.data()) == 0,
              "status");
        check(k.row_products(gradient.data(), out.data(), tokens * heads, width, products.data()) == 0, "status");
        check(attention_gradient(query.data(), key.data(), value.data(), heads, key_heads, width, window, scale, cap,
                                 falls, offsets, sequences, log_sums.data(), products.data(), gradient.data(),
                                 scratch.data(), by_query.data(), by_key.data(), by_value.data()) == 0,
              "status");
        std::vector<double> queries(by_query.start.size()), keys(by_key.start.size()), values(by_value.start.size());
        for (int64_t s = 0; s < sequences; s++) {
          for (int64_t t = offsets[s]; t < offsets[s + 1]; t++) {
            const int64_t from = window == 0 ? offsets[s] : std::max<int64_t>(offsets[s], t - window + 1);
            for (int64_t h = 0; h < heads; h++) {
              const auto q = (t * heads + h) * width;
              for (int64_t j = from; j <= t; j++) {
                const auto at = (j * key_heads + h / (heads / key_heads)) * width;
                double score = 0, by_weight = 0;
                for (int64_t c = 0; c < width; c++) {
                  score += static_cast<double>(scale) * query[q + c] * key[at + c];
                  by_weight += gradient[q + c] * value[at + c];
                }
                double slope = static_cast<double>(scale);
                if (cap != 0) {
                  const double limit = static_cast<double>(cap);
                  score = limit * std::tanh(score / limit);
                  slope *= 1 - score * score / (limit * limit);
                }
                const double fall = falls == nullptr ? 0 : static_cast<double>(falls[h]) * static_cast<double>(t - j);
                const double weight = std::exp(score - fall - log_sums[t * heads + h]);
                const double by_score = weight * (by_weight - products[t * heads + h]) * slope;
                for (int64_t c = 0; c < width; c++) {
                  values[static_cast<size_t>(at + c)] += weight * gradient[q + c];
                  keys[static_cast<size_t>(at + c)] += by_score * query[q + c];
                  queries[static_cast<size_t>(q + c)] += by_score * key[at + c];
                }
              }
            }
          }
        }
        check_close(by_query, queries);
        check_close(by_key, keys);
        check_close(by_value, values);
      }
    }
  }
}

sigjmp_buf after_fault;

// A file of four pages, each full of ones, that loses all but its first page.
struct CutFile {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  FILE* file = std::tmpfile();
  const unsigned char* bytes = nullptr;

  CutFile() {
    const std::vector<unsigned char> ones(4 * page, 1);
    check(std::fwrite(ones.data(), 1, ones.size(), file) == ones.size() && std::fflush(file) == 0, "file");
    void* mapping = mmap(nullptr, ones.size(), PROT_READ, MAP_SHARED, fileno(file), 0);
    check(mapping != MAP_FAILED, "mapping");
    bytes = static_cast<unsigned char*>(mapping);
    check(ftruncate(fileno(file), static_cast<off_t>(page)) == 0, "cut");
  }

  unsigned char at(size_t offset) const { return *static_cast<const volatile unsigned char*>(bytes + offset); }
};

void test_lost_pages() {
  // The layout of the struct in lost_pages.cpp.
  struct Watched {
    std::atomic<uintptr_t> begin, end;
    std::atomic<int64_t> lost;
    std::atomic<Watched*> next;
  };
  struct sigaction earlier = {};
  earlier.sa_handler = [](int) { siglongjmp(after_fault, 1); };
  sigemptyset(&earlier.sa_mask);
  check(sigaction(SIGBUS, &earlier, nullptr) == 0, "earlier handler");

  static std::atomic<Watched*> head{nullptr};
  check(laco_watch_mappings(&head) == 0, "status");
  check(laco_watch_mappings(&head) == 0, "status of a second call");
  const CutFile cut;
  const CutFile other;
  static Watched second{{0}, {0}, {0}, {nullptr}};
  static Watched first{{0}, {0}, {0}, {&second}};
  const auto begin = reinterpret_cast<uintptr_t>(cut.bytes);
  second.begin = begin;
  second.end = begin + 4 * cut.page - 7;
  head = &first;

  check(cut.at(0) == 1 && second.lost == 0, "a page that is there");
  check(cut.at(2 * cut.page + 5) == 0 && second.lost == 1, "a lost page");
  second.lost = 0;
  check(cut.at(3 * cut.page) == 0 && second.lost == 0, "a lost page behind it");
  check(cut.at(cut.page) == 0 && second.lost == 1, "a lost page before it");
  check(cut.at(cut.page - 1) == 1, "the last page that is there");

  volatile bool chained = false;
  if (sigsetjmp(after_fault, 1) == 0) {
    other.at(other.page);
  } else {
    chained = true;
  }
  check(chained && first.lost == 0, "a page of a mapping that is not watched");
  std::printf("lost pages: zeros\n");
}

}  // namespace

int main() {
  test_lost_pages();
  const int features = laco_cpu_features();
  for (const Kernels& k : kTiers) {
    if ((features & k.needs) != k.needs) {
      std::printf("tier %d: this processor lacks it\n", k.tier);
      continue;
    }
    test_weights(k);
    test_mix(k);
    test_large_mix(k);
    test_activations(k);
    test_rope(k);
    test_cosine(k);
    test_logits(k);
    test_route(k);
    test_add_rows(k);
    test_copy_columns(k);
    test_gather_columns(k);
    test_log_probability(k);
    test_sample(k);
    test_kl_divergence(k);
    test_rows_and_columns(k);
    test_norm_gradient(k);
    test_distillation_gradient(k);
    test_adam_w(k);
    test_adam_w_8bit(k);
    test_clamped_gate(k);
    test_attention("attention_" + std::to_string(k.tier), k.attention, k.attention_scratch, 1e-5);
    test_attention_gradient("attention_gradient_" + std::to_string(k.tier), k, k.attention_gradient,
                            k.attention_gradient_scratch, 5e-5, 0);
    std::printf("tier %d: all kernels agree\n", k.tier);
  }
  for (const Kernels& k : kTiers) {
    if ((features & k.needs) == k.needs) {
      test_causal_convolution(k);
      test_gated_delta(k);
      std::printf("tier %d: kernels of linear attention agree\n", k.tier);
    }
  }
  constexpr int kTiles = 2 | 4 | 16;  // AVX-512, its BF16 and AMX BF16
  if ((features & kTiles) != kTiles || laco_use_tiles() != 1) {
    std::printf("tiles: this processor lacks them\n");
    return 0;
  }
  // Four factors are rounded to bf16, each by up to 2^-9 of itself.
  test_attention("attention_tiles", laco_attention_tiles, laco_attention_tiles_scratch, 1.5e-2);
  test_unseen_values();
  // Scores of heads of one number are so large that rounding changes softmax weights by several percent; of a row that
  // sees one key, gradients that are zero are differences of rounded numbers.
  test_attention_gradient("attention_gradient_tiles", kTiers[2], laco_attention_gradient_tiles,
                          laco_attention_gradient_tiles_scratch, 8e-2, 4e-2);
  std::printf("tiles: all kernels agree\n");
  return 0;
}
