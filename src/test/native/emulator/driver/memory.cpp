#include "memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fiber.hpp"

namespace standin {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kZone = 256;
constexpr unsigned char kPoison = 0xff;  // NaN in every type
constexpr size_t kKeepFreed = size_t{16} << 20;
constexpr size_t kLarge = size_t{1} << 20;

bool poisoned(const unsigned char* from, size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  (void)from;
  (void)bytes;
  return true;  // nobody can have written there
#else
  return bytes == 0 || (from[0] == kPoison && std::memcmp(from, from + 1, bytes - 1) == 0);
#endif
}

std::string describe(const void* pointer, size_t bytes) {
  char text[64];
  std::snprintf(text, sizeof(text), "%zu bytes at %p", bytes, pointer);
  return text;
}

// Large blocks are views of a file of poison, each with its own copies of the pages that it writes: what nobody
// touches costs nothing, neither when it is given out nor when it is poisoned again.
constexpr size_t kPoisonFile = size_t{4} << 20;

int poison_file() {
  static const int file = [] {
    const int made = memfd_create("poison", 0);
    const std::vector<unsigned char> bytes(kPoisonFile, kPoison);
    return made >= 0 && write(made, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) ? made : -1;
  }();
  return file;
}

bool map_poison(unsigned char* block, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kPoisonFile) {
    if (mmap(block + at, std::min(kPoisonFile, bytes - at), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
             poison_file(), 0) == MAP_FAILED) {
      return false;
    }
  }
  return true;
}

unsigned char* take_block(size_t bytes) {
  if (bytes < kLarge) {
    auto* block = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, bytes));
    if (block != nullptr) {
      std::memset(block, kPoison, bytes);
    }
    return block;
  }
  void* reserved = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    return nullptr;
  }
  auto* block = static_cast<unsigned char*>(reserved);
  if (!map_poison(block, bytes)) {
    munmap(block, bytes);
    return nullptr;
  }
  return block;
}

void poison_again(const Allocation& allocation) {
  if (allocation.block_bytes < kLarge) {
    std::memset(allocation.block + kZone, kPoison, allocation.bytes);
  } else {
    map_poison(allocation.block, allocation.block_bytes);
  }
}

void give_back(const Allocation& allocation) {
  simt::unpoison_for_sanitizer(allocation.block, allocation.block_bytes);
  if (allocation.block_bytes < kLarge) {
    std::free(allocation.block);
  } else {
    munmap(allocation.block, allocation.block_bytes);
  }
}

const char* name(Place place) { return place == Place::kDevice ? "device memory" : "pinned memory"; }

// The last allocation that does not begin behind the address.
template <class Map>
auto at_or_before(const Map& map, uintptr_t address) {
  auto next = map.upper_bound(address);
  return next == map.begin() ? map.end() : --next;
}

std::string check_zones_of(uintptr_t data, const Allocation& allocation) {
  const auto* begin = reinterpret_cast<const unsigned char*>(data);
  const unsigned char* end = begin + allocation.bytes;
  if (!poisoned(allocation.block, kZone)) {
    return "a write before the " + describe(begin, allocation.bytes);
  }
  if (!poisoned(end, static_cast<size_t>(allocation.block + allocation.block_bytes - end))) {
    return "a write behind the " + describe(begin, allocation.bytes);
  }
  return "";
}

}  // namespace

void* Memory::allocate(size_t bytes, Place place) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const size_t block_bytes = kZone + rounded + kZone;
  unsigned char* block = take_block(block_bytes);
  if (block == nullptr) {
    return nullptr;
  }
  unsigned char* data = block + kZone;
  simt::poison_for_sanitizer(block, kZone);
  simt::poison_for_sanitizer(data + bytes, rounded - bytes + kZone);
  live_[reinterpret_cast<uintptr_t>(data)] = {block, block_bytes, bytes, place};
  device_bytes_ += place == Place::kDevice ? rounded : 0;
  return data;
}

Memory::Found Memory::find(const void* pointer, size_t bytes, Place place) const {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (const auto found = at_or_before(live_, address); found != live_.end()) {
    const auto& [begin, allocation] = *found;
    const size_t offset = address - begin;
    if (offset <= allocation.bytes && allocation.place == place) {
      if (bytes <= allocation.bytes - offset) {
        return {&allocation, ""};
      }
      return {nullptr, describe(pointer, bytes) + " go beyond the end of an allocation of " +
                           describe(reinterpret_cast<void*>(begin), allocation.bytes)};
    }
  }
  if (const auto found = at_or_before(freed_, address); found != freed_.end()) {
    if (address - found->first < found->second.bytes) {
      return {nullptr, describe(pointer, bytes) + " are in freed memory"};
    }
  }
  return {nullptr, describe(pointer, bytes) + " are not in " + name(place)};
}

const Allocation* Memory::around(const void* pointer) const {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto found = at_or_before(live_, address);
  return found != live_.end() && address - found->first <= found->second.bytes ? &found->second : nullptr;
}

std::string Memory::release(void* pointer, Place place) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const auto found = live_.find(address);
  if (found == live_.end() || found->second.place != place) {
    return freed_.contains(address) ? "was freed before" : std::string("is not the beginning of ") + name(place);
  }
  const Allocation allocation = found->second;
  live_.erase(found);
  const size_t rounded = allocation.block_bytes - 2 * kZone;
  device_bytes_ -= place == Place::kDevice ? rounded : 0;
  std::string problem = check_zones_of(address, allocation);
  poison_again(allocation);
  simt::poison_for_sanitizer(pointer, allocation.bytes);
  const std::string older = keep_freed(address, allocation);
  return problem.empty() ? older : problem;
}

std::string Memory::keep_freed(uintptr_t data, const Allocation& allocation) {
  freed_[data] = allocation;
  freed_order_.push_back(data);
  freed_bytes_ += allocation.block_bytes;
  std::string problem;
  while (freed_bytes_ > kKeepFreed && freed_order_.size() > 1) {
    const auto oldest = freed_.find(freed_order_.front());
    const Allocation gone = oldest->second;
    if (gone.block_bytes < kLarge && !poisoned(gone.block, gone.block_bytes)) {
      problem = "a write into freed memory: " + describe(gone.block + kZone, gone.bytes);
    }
    freed_order_.pop_front();
    freed_bytes_ -= gone.block_bytes;
    freed_.erase(oldest);
    give_back(gone);
  }
  return problem;
}

std::string Memory::check_zones() const {
  for (const auto& [data, allocation] : live_) {
    if (std::string problem = check_zones_of(data, allocation); !problem.empty()) {
      return problem;
    }
  }
  return "";
}

void Memory::release_all() {
  for (const auto* map : {&live_, &freed_}) {
    for (const auto& [data, allocation] : *map) {
      give_back(allocation);
    }
  }
  live_.clear();
  freed_.clear();
  freed_order_.clear();
  freed_bytes_ = 0;
  device_bytes_ = 0;
}

}  // namespace standin
