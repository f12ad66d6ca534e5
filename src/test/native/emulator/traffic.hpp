// Counts what a launch moves between device memory and the L2 cache.
//
// Kernels of a program that links traffic.cpp are compiled with calls before every load and store. The calls come in the
// order in which the emulator runs blocks, one after the other, the grid's first dimension fastest. A grid whose
// neighbours share nothing then reads again what has left the cache meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace traffic {

// Of an H100.
constexpr size_t kCacheBytes = size_t{50} << 20;

// A cache of lines of 128 bytes in four sectors, 16 lines a set, of which the one that was used least recently goes.
// Sectors are read when they are missed; written ones are written when their line goes. One exists at a time.
class Counter {
 public:
  explicit Counter(size_t cache_bytes = kCacheBytes);
  ~Counter();
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  // Counts accesses of this memory from now on; others are not counted and take no place in the cache.
  void watch(const void* memory, size_t bytes);
  template <class Buffer>
  void watch(Buffer& buffer) {
    watch(buffer.data(), buffer.size() * sizeof(buffer[0]));
  }

  // Writes what the cache holds back to memory, and empties it.
  void flush();

  // Bytes that were moved since it was watched, of memory that begins there.
  struct Bytes {
    uint64_t read;
    uint64_t written;
  };
  Bytes of(const void* memory) const;

  void access(const void* at, size_t bytes, bool writes);

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    Bytes moved;
  };
  struct Line {
    uint64_t number = ~uint64_t{0};
    uint8_t held = 0;  // bits are sectors
    uint8_t written = 0;
  };

  Range* find(uintptr_t at);
  Line& line(uint64_t number);
  void write_back(Line& line);

  std::vector<Line> lines_;  // the sets, each from the line that was used last
  std::vector<Range> ranges_;
};

}  // namespace traffic
