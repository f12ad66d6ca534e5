// Functions that tell properties of the library and the processor. This file is compiled once, not for each tier.
#include <cpuid.h>
#include <omp.h>

#include <cstdint>

#define LACO_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

bool bit(unsigned word, int position) { return (word >> position & 1) != 0; }

// The register XCR0: which registers the operating system saves for a thread.
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

}  // namespace

// Features that both the processor has and the operating system supports. Bit 0: AVX2, FMA and F16C
// (tier 1). 1: AVX-512 F, BW, DQ, VL (tier 2). 2: AVX-512 BF16. 3: AVX-512 FP16. 4: AMX BF16.
LACO_EXPORT int32_t laco_cpu_features() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) {
    return 0;  // no XGETBV
  }
  const unsigned one = c;
  unsigned seven = 0, seven_d = 0, seven_one = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    seven = b;
    seven_d = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
      seven_one = a;
    }
  }
  const uint64_t state = enabled_state();
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xe6) == 0xe6;
  const bool tiles = (state & 0x60000) == 0x60000;
  int32_t features = 0;
  if (ymm && bit(one, 12) && bit(one, 28) && bit(one, 29) && bit(seven, 5)) {
    features |= 1;
    if (zmm && bit(seven, 16) && bit(seven, 17) && bit(seven, 30) && bit(seven, 31)) {
      features |= 2;
      features |= bit(seven_one, 5) ? 4 : 0;
      features |= bit(seven_d, 23) ? 8 : 0;
      features |= tiles && bit(seven_d, 22) ? 16 : 0;
    }
  }
  return features;
}

// The number of this interface, which changes with the arguments of any kernel. Java compares it with the number that
// it expects.
LACO_EXPORT int32_t laco_abi() { return 19; }

// Sets the number of threads of parallel regions that the calling thread starts, those of oneDNN included.
LACO_EXPORT void laco_set_threads(int32_t threads) { omp_set_num_threads(threads); }

// That number of the calling thread.
LACO_EXPORT int32_t laco_threads() { return omp_get_max_threads(); }
