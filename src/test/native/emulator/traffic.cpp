#include "traffic.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "simt.hpp"

namespace traffic {
namespace {

constexpr uint64_t kLineBytes = 128;
constexpr uint64_t kSectorBytes = 32;
constexpr size_t kWays = 16;

Counter* counter = nullptr;

}  // namespace

Counter::Counter(size_t cache_bytes) : lines_(cache_bytes / (kLineBytes * kWays) * kWays) { counter = this; }

Counter::~Counter() { counter = nullptr; }

void Counter::watch(const void* memory, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  ranges_.push_back({begin, begin + bytes, {}});
}

void Counter::flush() {
  for (Line& line : lines_) {
    write_back(line);
    line = {};
  }
}

Counter::Bytes Counter::of(const void* memory) const {
  const auto found = std::find_if(ranges_.begin(), ranges_.end(), [memory](const Range& range) {
    return range.begin == reinterpret_cast<uintptr_t>(memory);
  });
  return found == ranges_.end() ? Bytes{} : found->moved;
}

Counter::Range* Counter::find(uintptr_t at) {
  for (Range& range : ranges_) {
    if (at - range.begin < range.end - range.begin) {
      return &range;
    }
  }
  return nullptr;
}

void Counter::write_back(Line& line) {
  for (unsigned sectors = line.written; sectors != 0; sectors &= sectors - 1) {
    const auto sector = static_cast<uint64_t>(std::countr_zero(sectors));
    if (Range* range = find(line.number * kLineBytes + sector * kSectorBytes)) {
      range->moved.written += kSectorBytes;
    }
  }
}

// The line with this number, which becomes the first of its set.
Counter::Line& Counter::line(uint64_t number) {
  const size_t sets = lines_.size() / kWays;
  // As hardware does, so that strides that are powers of two use all sets.
  Line* const set = &lines_[(number * 0x9e3779b97f4a7c15 >> 20) % sets * kWays];
  size_t way = 0;
  while (way < kWays - 1 && set[way].number != number) {
    way++;
  }
  if (set[way].number != number) {
    write_back(set[way]);
    set[way] = {number, 0, 0};
  }
  std::rotate(set, set + way, set + way + 1);
  return set[0];
}

void Counter::access(const void* at, size_t bytes, bool writes) {
  const auto begin = reinterpret_cast<uintptr_t>(at);
  Range* const range = find(begin);
  if (range == nullptr) {
    return;
  }
  for (uint64_t sector = begin / kSectorBytes; sector <= (begin + bytes - 1) / kSectorBytes; sector++) {
    Line& held = line(sector * kSectorBytes / kLineBytes);
    const auto bit = static_cast<uint8_t>(1u << sector % (kLineBytes / kSectorBytes));
    if (writes) {
      held.written |= bit;
    } else if ((held.held & bit) == 0) {
      range->moved.read += kSectorBytes;
    }
    held.held |= bit;
  }
}

}  // namespace traffic

namespace simt {

void count_read(const void* from, size_t bytes) {
  if (traffic::counter != nullptr) {
    traffic::counter->access(from, bytes, false);
  }
}

}  // namespace simt

// What g++ calls before loads and stores with -fsanitize=thread, whose own library is not linked.
extern "C" {

#define LACO_ACCESS(name, bytes, writes)           \
  void name(void* at) {                            \
    if (traffic::counter != nullptr) {             \
      traffic::counter->access(at, bytes, writes); \
    }                                              \
  }
#define LACO_ACCESSES(bytes)                                  \
  LACO_ACCESS(__tsan_read##bytes, bytes, false)               \
  LACO_ACCESS(__tsan_write##bytes, bytes, true)               \
  LACO_ACCESS(__tsan_unaligned_read##bytes, bytes, false)     \
  LACO_ACCESS(__tsan_unaligned_write##bytes, bytes, true)     \
  LACO_ACCESS(__tsan_volatile_read##bytes, bytes, false)      \
  LACO_ACCESS(__tsan_volatile_write##bytes, bytes, true)
LACO_ACCESSES(1)
LACO_ACCESSES(2)
LACO_ACCESSES(4)
LACO_ACCESSES(8)
LACO_ACCESSES(16)

void __tsan_read_range(void* at, long bytes) { simt::count_read(at, static_cast<size_t>(bytes)); }
void __tsan_write_range(void* at, long bytes) {
  if (traffic::counter != nullptr) {
    traffic::counter->access(at, static_cast<size_t>(bytes), true);
  }
}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
}
