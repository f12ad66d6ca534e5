#include "adam_w.hpp"

using namespace LACO_NAMESPACE;

namespace {

constexpr int64_t kBlock = 256;                // elements that share scales
constexpr int64_t kRow = 2 + 2 * kBlock / 4;  // words of a block: two scales, then the codes of both running means
constexpr int kMeanBits = 7, kSquareBits = 8;  // of a code without its sign

using Bytes = uint8_t __attribute__((vector_size(W)));

// 10^exponent, for an exponent of at most 0.
constexpr double tenth(int exponent) {
  double power = 1;
  for (; exponent < 0; exponent++) {
    power /= 10;
  }
  return power;
}

// The numbers that codes stand for: with the place e of the highest bit of the last `bits` bits and the share f, in
// [0, 1), that the bits behind it are of 2^e, 10^(e - bits + 1) (0.1 + 0.9 (f + 2^-e / 2)). Zero stands for 0; bit 7,
// if it is none of these bits, for the sign.
template <int kBits>
struct Codes {
  float value[256];

  constexpr Codes() : value{} {
    for (int e = 0; e < kBits; e++) {
      const int count = 1 << e;
      for (int j = 0; j < count; j++) {
        value[count + j] = static_cast<float>(tenth(e - kBits + 1) * (0.1 + 0.9 * (j + 0.5) / count));
      }
    }
    for (int code = 1 << kBits; code < 256; code++) {
      value[code] = -value[code - (1 << kBits)];
    }
  }
};

constexpr Codes<kMeanBits> kMeans;
constexpr Codes<kSquareBits> kSquares;

// Of each decade its lower end, and the power of ten by which its numbers become those of [0.1, 1).
template <int kBits>
struct Decades {
  float from[kBits], scale[kBits];

  constexpr Decades() : from{}, scale{} {
    for (int e = 0; e < kBits; e++) {
      from[e] = static_cast<float>(tenth(e - kBits));
      scale[e] = static_cast<float>(1 / tenth(e - kBits + 1));
    }
  }
};

// The codes of numbers of [0, 1]: each has a part of a decade, of which the decade has as many as codes. What lies
// below the lowest decade, or is no number, has the code `least`.
template <int kBits>
Int encode(Vec x, Int least) {
  constexpr Decades<kBits> decades;
  Vec scale = splat(decades.scale[0]), count = splat(1);
  for (int e = 1; e < kBits; e++) {
    const Int reached = x >= decades.from[e];
    scale = select(reached, splat(decades.scale[e]), scale);
    count = select(reached, splat(static_cast<float>(1 << e)), count);
  }
  const Vec part = max(Vec{}, (x * scale - 0.1f) * (1 / 0.9f) * count);
  const Vec last = count - 1;
  const Int code = __builtin_convertvector(count + select(part < last, part, last), Int);
  return x >= decades.from[0] ? code : least;
}

void store_bytes(unsigned char* p, Int codes) {
  const Bytes bytes = __builtin_convertvector(codes, Bytes);
  std::memcpy(p, &bytes, sizeof bytes);
}

// By what numbers are multiplied so that the largest becomes 1; 0 where that is less than any normal f32.
float inverse(float largest) { return largest >= 0x1p-126f ? 1 / largest : 0; }

template <class T>
void take_block(const AdamStep& adam, const Trained<T>& trained, float* gradient, float* row, int64_t first,
                int64_t count) {
  auto* mean_codes = reinterpret_cast<unsigned char*>(row + 2);
  auto* square_codes = mean_codes + kBlock;
  alignas(64) float means[kBlock] = {}, squares[kBlock] = {};
  for (int64_t k = 0; k < count; k++) {
    means[k] = row[0] * kMeans.value[mean_codes[k]];
    squares[k] = row[1] * kSquares.value[square_codes[k]];
  }
  Vec most_mean = {}, most_square = {};
  each_vector(count, [&](int64_t k, auto... rest) {
    Vec m = load(means + k, rest...), s = load(squares + k, rest...);
    const Vec w = adam.take(load(gradient + first + k, rest...), m, s, trained.value(first + k, rest...));
    store(gradient + first + k, Vec{}, rest...);
    trained.set(first + k, w, rest...);
    store(means + k, m, rest...);
    store(squares + k, s, rest...);
    most_mean = max(most_mean, max(m, -m));
    most_square = max(most_square, s);
  });
  row[0] = largest(most_mean);
  row[1] = largest(most_square);
  const float by_mean = inverse(row[0]), by_square = inverse(row[1]);
  for (int64_t k = 0; k < kBlock; k += W) {
    const Vec m = load(means + k), s = load(squares + k);
    store_bytes(mean_codes + k, encode<kMeanBits>(max(m, -m) * by_mean, Int{}) | ((m < 0) & 128));
    // A square that is not zero stays so: a step divides by its root.
    store_bytes(square_codes + k, encode<kSquareBits>(s * by_square, (s > 0) & 1));
  }
}

}  // namespace

// One step of AdamW as adam_w takes it, with running means in 8 bits (Dettmers et al. 2022, arXiv 2110.02861): moments
// [ceil(n / 256), 130] has of each block of elements the largest magnitude of means, that of squares, the codes of 256
// means, and those of 256 squares.
LACO_KERNEL(adam_w_8bit)
(float* gradient, float* moments, float* master, void* weight, int32_t dtype, int64_t n, double gradient_scale,
 double beta1, double beta2, double kept, double step, double correction, double epsilon, uint64_t key) {
  return with_dtype(dtype, weight, [&](auto* type) {
    const Trained trained{master, writable(type), key};
    const AdamStep adam(gradient_scale, beta1, beta2, kept, step, correction, epsilon);
#pragma omp parallel for schedule(static) if (n > kParallelLight)
    for (int64_t block = 0; block < (n + kBlock - 1) / kBlock; block++) {
      take_block(adam, trained, gradient, moments + block * kRow, block * kBlock, min(kBlock, n - block * kBlock));
    }
  });
}
