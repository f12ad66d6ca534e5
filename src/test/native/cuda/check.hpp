// Helpers of the CUDA kernels' C++ tests: TEST, CHECK, memory that detects accesses beside it, random values,
// and launches that must succeed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "simt.hpp"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "simt_control.hpp"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#undef warpSize

namespace check {

// A test is a function that registers itself; the main program runs all whose names contain its arguments.
struct Test {
  const char* name;
  void (*run)();
  Test* next;
  Test(const char* name, void (*run)());
};

// Prints the failed check and ends the program with exit code 1.
[[noreturn]] void fail(const char* file, int line, const std::string& what);

#define TEST(name)                                    \
  static void name();                                 \
  static const check::Test test_##name(#name, &name); \
  static void name()

#define CHECK(condition)                                  \
  do {                                                    \
    if (!(condition)) {                                   \
      check::fail(__FILE__, __LINE__, "not: " #condition); \
    }                                                     \
  } while (false)

// CHECK with a std::string that says what was tested.
#define CHECK_THAT(condition, what)                                   \
  do {                                                                \
    if (!(condition)) {                                               \
      check::fail(__FILE__, __LINE__, (what) + ": not: " #condition); \
    }                                                                 \
  } while (false)

// Checks equality within a tolerance. NaN is equal to NaN only, an infinity to itself only. The expression
// `what` is evaluated on failure only.
#define CHECK_CLOSE(actual, expected, tolerance, what)                                       \
  do {                                                                                       \
    const check::Comparison comparison{actual, expected, tolerance};                         \
    if (!comparison.close()) {                                                               \
      check::fail(__FILE__, __LINE__, std::string(what) + ": " + comparison.words());        \
    }                                                                                        \
  } while (false)

struct Comparison {
  double actual;
  double expected;
  double tolerance;
  bool close() const {
    return std::isnan(expected) ? std::isnan(actual)
                                : actual == expected || std::abs(actual - expected) <= tolerance;
  }
  std::string words() const;
};

// Stands for device memory: `bytes` bytes that end `shift` bytes before a page that may not be accessed, so that
// every alignment can be tested. The memory is filled with NaN. The bytes around it must keep their pattern until
// the destructor checks them.
class Memory {
 public:
  explicit Memory(size_t bytes, size_t shift = 0);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  unsigned char* data() { return data_; }

 private:
  unsigned char* pages_;
  size_t inside_;
  unsigned char* data_;
  size_t bytes_;
};

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count, size_t shift = 0)
      : memory_(count * sizeof(T), shift * sizeof(T)), count_(count) {}
  Buffer(const std::vector<T>& values, size_t shift = 0) : Buffer(values.size(), shift) {
    if (!values.empty()) {
      std::memcpy(memory_.data(), values.data(), values.size() * sizeof(T));
    }
  }
  T* data() { return reinterpret_cast<T*>(memory_.data()); }
  T& operator[](size_t i) { return data()[i]; }
  size_t size() const { return count_; }
  std::vector<T> values() { return std::vector<T>(data(), data() + count_); }

 private:
  Memory memory_;
  size_t count_;
};

inline double wide(float value) { return static_cast<double>(value); }
inline double wide(double value) { return value; }
inline double wide(__half value) { return static_cast<double>(__half2float(value)); }
inline double wide(__nv_bfloat16 value) { return static_cast<double>(__bfloat162float(value)); }

template <class T>
T narrow(double value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __double2half(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __double2bfloat16(value);
  } else {
    return static_cast<T>(value);
  }
}

template <class T>
constexpr const char* type_name() {
  return std::is_same_v<T, __half> ? "f16" : std::is_same_v<T, __nv_bfloat16> ? "bf16" : "f32";
}

// The code of an element type, as kernels take it.
template <class T>
constexpr int32_t kCode = sizeof(T) == 4 ? 0 : std::is_same_v<T, __half> ? 1 : 2;

// Half a unit in the last place of a 16-bit type, relative to a number; 0 for f32, whose rounding the tests' tolerances
// have.
template <class T>
constexpr double kRounding = sizeof(T) == 4 ? 0 : std::is_same_v<T, __half> ? 0x1p-11 : 0x1p-8;

std::mt19937& generator();

// Normally distributed, rounded to T.
template <class T>
std::vector<T> random(size_t count, double deviation = 1.0) {
  std::normal_distribution<double> normal(0.0, deviation);
  std::vector<T> values(count);
  for (T& value : values) {
    value = narrow<T>(normal(generator()));
  }
  return values;
}

inline int random_int(int from, int to) {
  return std::uniform_int_distribution<int>(from, to)(generator());
}

// A launch that must succeed.
template <class... Arguments>
void launch(const std::string& kernel, dim3 grid, dim3 block, size_t shared_bytes,
            Arguments... arguments) {
  if (simt::launch(kernel.c_str(), grid, block, shared_bytes, arguments...) != 0) {
    fail(__FILE__, __LINE__, simt::last_error());
  }
}

}  // namespace check
