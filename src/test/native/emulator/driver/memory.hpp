// Device memory and pinned host memory of a context: between guard zones, poisoned when it is given out and
// again when it is freed, and kept for a while then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

namespace standin {

enum class Place { kDevice, kHost };

struct Allocation {
  unsigned char* block;  // with its guard zones
  size_t block_bytes;
  size_t bytes;
  Place place;
};

class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { release_all(); }

  // Null where the machine has no more.
  void* allocate(size_t bytes, Place place);

  struct Found {
    const Allocation* allocation;
    std::string problem;  // where it is null
  };
  // The live allocation of that place that has all these bytes.
  Found find(const void* pointer, size_t bytes, Place place) const;
  // The live allocation of either place that has the byte at the pointer, or ends there.
  const Allocation* around(const void* pointer) const;
  // The pointer must be the beginning of a live allocation. The problem, or empty.
  std::string release(void* pointer, Place place);
  // Whether all guard zones are as they were made; the problem, or empty.
  std::string check_zones() const;
  void release_all();

  size_t device_bytes() const { return device_bytes_; }
  size_t count() const { return live_.size(); }

 private:
  // The problem that the memory has that must go for it, or empty.
  std::string keep_freed(uintptr_t data, const Allocation& allocation);

  std::map<uintptr_t, Allocation> live_;
  std::map<uintptr_t, Allocation> freed_;
  std::deque<uintptr_t> freed_order_;
  size_t freed_bytes_ = 0;
  size_t device_bytes_ = 0;
};

}  // namespace standin
