// CUDA for g++: included before every .cu file, so that the very source that nvcc compiles for a GPU also
// runs on a CPU, one fiber for every CUDA thread. ../README.md says what the emulator models.
//
// Offered to kernels beyond CUDA's own names:
//   simt::together   an operation of a whole warp: the last lane to arrive does it for all (mma.cuh uses it)
//   simt::exchange   every lane gets the value of a lane that it names
//   simt::gather     every lane gets the values of all lanes
//   simt::copy_async, commit_copies, wait_copies: cp.async, whose bytes are written in the wait
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define LACO_EMULATED 1

#include "simt_types.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) alignas(n)
// The linker script of the build puts these variables together, so that they can be filled with NaN for every block.
#define __shared__ static

namespace simt {

// The place of a barrier in a kernel. Threads that meet at a barrier must be at the same place.
struct Site {
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

constexpr unsigned kWarp = 32;
constexpr unsigned kMaxThreads = 1024;

// The thread that runs. Global variables suffice, since only one launch runs at a time.
struct Thread {
  uint3 index;
  unsigned lane;
};
extern Thread* current;
extern uint3 block_index;
extern dim3 block_dim;
extern dim3 grid_dim;
extern unsigned char* dynamic_shared;

void block_barrier(Site site);
// A barrier of the block; returns whether any thread passed true.
bool block_any(bool predicate, Site site);

// Waits for all lanes of `mask`; the last to arrive runs `operation` on the records of all, in its own
// thread, before any other goes on. Records of lanes outside the mask are null.
using Operation = void (*)(void* const* records);
void warp_barrier(uint32_t mask, void* record, Operation operation, Site site);

template <class Record>
void together(uint32_t mask, Record& record, void (*operation)(Record* const* lanes),
              Site site = Site::here()) {
  static_assert(sizeof(Record*) == sizeof(void*));
  struct Typed {
    Record* record;
    void (*operation)(Record* const*);
  } typed{&record, operation};
  warp_barrier(
      mask, &typed,
      [](void* const* records) {
        Record* lanes[kWarp];
        void (*operation)(Record* const*) = nullptr;
        for (unsigned lane = 0; lane < kWarp; lane++) {
          auto* one = static_cast<Typed*>(records[lane]);
          lanes[lane] = one == nullptr ? nullptr : one->record;
          operation = one == nullptr ? operation : one->operation;
        }
        operation(lanes);
      },
      site);
}

// Every lane gets the value of lane `source`, its own where that lane is not in the mask.
template <class T>
T exchange(uint32_t mask, T value, unsigned source, Site site = Site::here()) {
  struct Record {
    T value;
    T result;
    unsigned source;
  } record{value, value, source};
  warp_barrier(
      mask, &record,
      [](void* const* records) {
        for (unsigned lane = 0; lane < kWarp; lane++) {
          auto* one = static_cast<Record*>(records[lane]);
          if (one != nullptr && records[one->source] != nullptr) {
            one->result = static_cast<Record*>(records[one->source])->value;
          }
        }
      },
      site);
  return record.result;
}

template <class T>
struct Gathered {
  T lanes[kWarp];
};

// Every lane gets the values of all lanes; those outside the mask are zero.
template <class T>
Gathered<T> gather(uint32_t mask, T value, Site site = Site::here()) {
  struct Record {
    T value;
    Gathered<T> result;
  } record{value, {}};
  warp_barrier(
      mask, &record,
      [](void* const* records) {
        for (unsigned lane = 0; lane < kWarp; lane++) {
          auto* one = static_cast<Record*>(records[lane]);
          for (unsigned from = 0; one != nullptr && from < kWarp; from++) {
            if (records[from] != nullptr) {
              one->result.lanes[from] = static_cast<Record*>(records[from])->value;
            }
          }
        }
      },
      site);
  return record.result;
}

// cp.async: `bytes` is 4, 8 or 16, of which the first `valid` are read and the others are zero. The destination is
// undefined until wait_copies: it is filled with NaN at once and written by the wait.
void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid);
inline void copy_async(void* shared, const void* global, unsigned bytes) {
  copy_async(shared, global, bytes, bytes);
}
void commit_copies();
// Waits until all committed groups except the latest `pending` were written.
void wait_copies(unsigned pending);

// Is told of what cp.async reads, in a program that counts accesses (traffic.hpp).
void count_read(const void* from, size_t bytes) __attribute__((weak));

// ---- kernels and launches

struct Parameter {
  uint32_t offset;
  uint32_t size;
  uint32_t points_to_alignment;  // of what a pointer points to; 0 of anything else
};

struct Kernel {
  const char* name;
  const char* file;
  unsigned max_threads;  // of a block, from __launch_bounds__
  const Parameter* parameters;
  unsigned parameter_count;
  unsigned parameter_bytes;
  // The shared memory of all kernels of the file.
  unsigned char* shared;
  unsigned char* shared_end;
  void (*run)(const unsigned char* parameters);  // one thread
};

const Kernel* find(const char* name);
const Kernel* const* kernels(size_t* count);

enum Status : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kNotFound = 500,
  kIllegalAddress = 700,
  kOutOfResources = 701,
  kMisalignedAddress = 716,
  kLaunchFailed = 719,
};

// Runs the kernel to its end. `parameters` is the packed buffer that a driver takes.
int launch(const Kernel& kernel, dim3 grid, dim3 block, size_t shared_bytes,
           const unsigned char* parameters);
// The checks that a driver makes at the call.
int check_launch(const Kernel& kernel, dim3 grid, dim3 block, size_t shared_bytes);
// The message of the last launch that failed.
const char* last_error();
int fail(int status, const char* format, ...) __attribute__((format(printf, 2, 3)));

int check_parameter_sizes(const Kernel& kernel, const size_t* sizes, size_t count);

// Launches by name; the arguments must have the sizes of the kernel's parameters.
template <class... Arguments>
int launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments) {
  const Kernel* kernel = find(name);
  if (kernel == nullptr) {
    return fail(kNotFound, "no kernel %s", name);
  }
  const size_t sizes[] = {sizeof(Arguments)..., 0};
  if (int status = check_parameter_sizes(*kernel, sizes, sizeof...(Arguments)); status != 0) {
    return status;
  }
  alignas(16) unsigned char packed[4096] = {};
  unsigned index = 0;
  ((std::memcpy(packed + kernel->parameters[index].offset, &arguments, sizeof(Arguments)), index++),
   ...);
  return launch(*kernel, grid, block, shared_bytes, packed);
}

template <class T>
constexpr uint32_t kPointsToAlignment = 0;
template <class T>
constexpr uint32_t kPointsToAlignment<T*> = alignof(T);
// To elements of a type that another parameter names.
template <>
constexpr uint32_t kPointsToAlignment<void*> = 1;

// A kernel's parameters as a driver packs them: each at the next multiple of its own alignment.
template <class... Parameters>
struct Signature {
  static constexpr size_t kCount = sizeof...(Parameters);
  struct Layout {
    Parameter parameters[kCount + 1];
    uint32_t bytes;
  };
  static constexpr Layout make() {
    Layout layout{};
    const uint32_t sizes[] = {sizeof(Parameters)..., 0};
    const uint32_t alignments[] = {alignof(Parameters)..., 1};
    const uint32_t points_to[] = {kPointsToAlignment<Parameters>..., 0};
    for (size_t i = 0; i < kCount; i++) {
      const uint32_t offset = (layout.bytes + alignments[i] - 1) / alignments[i] * alignments[i];
      layout.parameters[i] = {offset, sizes[i], points_to[i]};
      layout.bytes = offset + sizes[i];
    }
    return layout;
  }
  static constexpr Layout kLayout = make();
};

template <class T>
T unpack(const unsigned char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <auto kFunction>
struct Entry;

template <class... Parameters, void (*kFunction)(Parameters...)>
struct Entry<kFunction> : Signature<Parameters...> {
  static void run(const unsigned char* packed) {
    [&]<size_t... I>(std::index_sequence<I...>) {
      kFunction(unpack<Parameters>(packed + Entry::kLayout.parameters[I].offset)...);
    }(std::index_sequence_for<Parameters...>{});
  }
};

// The bound of the kernel whose __launch_bounds__ took this counter value.
template <int kCounter>
constexpr unsigned kLaunchBound = kMaxThreads;

}  // namespace simt

// A kernel's bound becomes a constant that its LACO_EXPORT finds: it must be the next to take a counter value.
#define __launch_bounds__(...) SIMT_BOUND(__COUNTER__, __VA_ARGS__, 0)
#define SIMT_BOUND(counter, ...) SIMT_BOUND_NAMED(counter, __VA_ARGS__)
#define SIMT_BOUND_NAMED(counter, threads, ...)       \
  simt_bound_##counter();                             \
  template <>                                         \
  constexpr unsigned simt::kLaunchBound<counter> = threads; \
  extern "C" void

#define SIMT_JOIN(part, file) SIMT_JOINED(part, file)
#define SIMT_JOINED(part, file) part##file
#define SIMT_SHARED SIMT_JOIN(simt_shared_begin_, SIMT_FILE)
#define SIMT_SHARED_END SIMT_JOIN(simt_shared_end_, SIMT_FILE)

// The section simt_kernels is the table of all kernels of a program or library; the symbols around the
// file's shared memory are the linker's.
#define LACO_EXPORT(function)                                                                  \
  extern unsigned char SIMT_SHARED[] __attribute__((visibility("hidden")));                    \
  extern unsigned char SIMT_SHARED_END[] __attribute__((visibility("hidden")));                \
  static constexpr simt::Kernel simt_kernel_##function{                                        \
      #function,                                                                               \
      __FILE__,                                                                                \
      simt::kLaunchBound<__COUNTER__ - 1>,                                                     \
      simt::Entry<function>::kLayout.parameters,                                               \
      simt::Entry<function>::kCount,                                                           \
      simt::Entry<function>::kLayout.bytes,                                                    \
      SIMT_SHARED,                                                                             \
      SIMT_SHARED_END,                                                                         \
      simt::Entry<function>::run};                                                             \
  __attribute__((section("simt_kernels"), used)) static const simt::Kernel* const              \
      simt_entry_##function = &simt_kernel_##function;

#define LACO_DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(simt::dynamic_shared)

#define threadIdx (simt::current->index)
#define blockIdx (simt::block_index)
#define blockDim (simt::block_dim)
#define gridDim (simt::grid_dim)
#define warpSize 32

#include "simt_device.hpp"
