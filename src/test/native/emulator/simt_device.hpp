// The device functions that kernels call: barriers, warp exchange, loads, rounding, math.
#pragma once

// ---- barriers

inline void __syncthreads(simt::Site site = simt::Site::here()) { simt::block_barrier(site); }

inline int __syncthreads_or(int predicate, simt::Site site = simt::Site::here()) {
  return simt::block_any(predicate != 0, site) ? 1 : 0;
}

inline void __syncwarp(uint32_t mask = ~0u, simt::Site site = simt::Site::here()) {
  simt::warp_barrier(mask, nullptr, nullptr, site);
}

// ---- warp exchange; a lane of another segment, or outside it, leaves the lane its own value

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, simt::Site site = simt::Site::here()) {
  const unsigned first = simt::current->lane & ~static_cast<unsigned>(width - 1);
  return simt::exchange(mask, value, first | (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1)), site);
}

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, simt::Site site = simt::Site::here()) {
  const unsigned lane = simt::current->lane;
  const unsigned source = lane ^ static_cast<unsigned>(bits);
  const unsigned w = static_cast<unsigned>(width);
  return simt::exchange(mask, value, source / w > lane / w ? lane : source, site);
}

template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32, simt::Site site = simt::Site::here()) {
  const unsigned lane = simt::current->lane;
  const unsigned w = static_cast<unsigned>(width);
  return simt::exchange(mask, value, lane % w + delta >= w ? lane : lane + delta, site);
}

template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32, simt::Site site = simt::Site::here()) {
  const unsigned lane = simt::current->lane;
  return simt::exchange(mask, value, lane % static_cast<unsigned>(width) < delta ? lane : lane - delta, site);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, simt::Site site = simt::Site::here()) {
  struct Vote {
    int predicate;
    uint32_t result;
  } vote{predicate, 0};
  simt::warp_barrier(
      mask, &vote,
      [](void* const* records) {
        uint32_t result = 0;
        for (unsigned lane = 0; lane < simt::kWarp; lane++) {
          auto* one = static_cast<Vote*>(records[lane]);
          result |= one != nullptr && one->predicate != 0 ? 1u << lane : 0u;
        }
        for (unsigned lane = 0; lane < simt::kWarp; lane++) {
          if (records[lane] != nullptr) {
            static_cast<Vote*>(records[lane])->result = result;
          }
        }
      },
      site);
  return vote.result;
}

inline int __any_sync(uint32_t mask, int predicate, simt::Site site = simt::Site::here()) {
  return __ballot_sync(mask, predicate, site) != 0;
}

inline int __all_sync(uint32_t mask, int predicate, simt::Site site = simt::Site::here()) {
  return __ballot_sync(mask, predicate, site) == mask;
}

// ---- memory

template <class T>
T __ldg(const T* p) { return *p; }
template <class T>
T __ldcs(const T* p) { return *p; }
template <class T>
T __ldcg(const T* p) { return *p; }
template <class T>
T __ldca(const T* p) { return *p; }
template <class T>
void __stcs(T* p, T value) { *p = value; }
template <class T>
void __stcg(T* p, T value) { *p = value; }
inline void __threadfence_block() {}
inline size_t __cvta_generic_to_shared(const void* p) { return reinterpret_cast<size_t>(p); }

// ---- bits

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
// The upper word of high:low shifted left by the lowest five bits of `shift`.
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }

// ---- arithmetic with one rounding each: g++ contracts nothing here (-ffp-contract=off)

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
// Toward zero.
inline float __double2float_rz(double x) {
  const float near = static_cast<float>(x);
  return std::fabs(static_cast<double>(near)) > std::fabs(x) ? std::nextafter(near, 0.0f) : near;
}
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }

// ---- math: the device's fast functions have errors of a few units in the last place, these have smaller ones

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __exp2f(float x) { return std::exp2(x); }
inline float exp10f(float x) { return std::pow(10.0f, x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }
