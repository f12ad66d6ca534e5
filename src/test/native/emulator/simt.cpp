// Runs the blocks of a launch one after the other, each CUDA thread as a fiber: a stack of its own and a
// switch of seven registers. A fiber runs one lane after the other as long as none has to wait, so that a
// kernel without barriers costs a call for each thread; a lane that waits keeps its fiber, and the next
// lanes get another. There is no scheduler to return to: who cannot go on switches straight to who can.
#include "simt.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "fiber.hpp"
#include "simt_control.hpp"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

extern "C" {
// Made by the linker around the section that LACO_EXPORT fills; absent where there is no kernel.
extern const simt::Kernel* const __start_simt_kernels[] __attribute__((weak, visibility("hidden")));
extern const simt::Kernel* const __stop_simt_kernels[] __attribute__((weak, visibility("hidden")));
}

namespace simt {

Thread* current;
uint3 block_index;
dim3 block_dim;
dim3 grid_dim;
unsigned char* dynamic_shared;

namespace {

constexpr int kPoison = 0xff;  // NaN in every type
constexpr size_t kCanary = 64;
constexpr size_t kMaxShared = 227 * 1024;

struct Copy {
  void* to;
  const void* from;
  unsigned bytes;
  unsigned valid;
  unsigned group;
};

// A cache line: switching from lane to lane is what takes the time.
struct alignas(64) Lane : Thread {
  unsigned warp;
  Fiber* fiber;  // null until the lane starts
  // Of the barrier it waits at:
  uint32_t mask;
  Site site;
  void* record;
};
static_assert(sizeof(Lane) == 64);

// The cp.async of a lane.
struct Copies {
  std::vector<Copy> pending;
  unsigned committed = 0;
};

// Bits are lanes.
struct Warp {
  uint32_t runnable;
  uint32_t at_warp_barrier;
  uint32_t at_block_barrier;
  uint32_t present;  // all but the lanes that the block does not fill
  uint32_t exited;
};

struct Block {
  const Kernel* kernel;
  const unsigned char* parameters;
  unsigned threads;
  unsigned warps;
  unsigned arrived;  // at the block barrier
  unsigned exited;
  uint32_t runnable;  // bits are warps
  Site barrier;
  bool any;        // of the predicates of those that arrived
  bool voted_any;  // of the last barrier that was completed
  int status;
  Lane lanes[kMaxThreads];
  Copies copies[kMaxThreads];
  bool has_copies;
  Warp warp[kMaxThreads / kWarp];
};

Block block;
std::mutex launching;
char message[512];
uint64_t random_state;  // 0: the natural order

uint32_t random_bits() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<uint32_t>(random_state >> 16);
}

// One of the bits, in a seeded order.
unsigned choose(uint32_t bits) {
  const uint32_t random = random_bits();
  const int turn = static_cast<int>(random & 31);
  const uint32_t turned = std::rotr(bits, turn);
  const int bit = (random & 32) != 0 ? std::countr_zero(turned) : 31 - std::countl_zero(turned);
  return static_cast<unsigned>(bit + turn) & 31;
}

Lane& self() { return *static_cast<Lane*>(current); }
Copies& copies_of_self() { return block.copies[&self() - block.lanes]; }

void make_runnable(unsigned warp, uint32_t lanes) {
  block.warp[warp].runnable |= lanes;
  block.runnable |= 1u << warp;
}

// The warp of the next lane to run, or kNone: the current one while it has any, unless a seeded order says
// otherwise.
constexpr unsigned kNone = ~0u;
unsigned choose_warp() {
  const unsigned same = self().warp;
  if (random_state == 0) {
    if (block.warp[same].runnable != 0) {
      return same;
    }
    // Lanes that were taken have left the bits of their warps behind.
    while (block.runnable != 0) {
      const auto warp = static_cast<unsigned>(std::countr_zero(block.runnable));
      if (block.warp[warp].runnable != 0) {
        return warp;
      }
      block.runnable &= block.runnable - 1;
    }
    return kNone;
  }
  if (block.warp[same].runnable != 0 && (random_bits() & 3) != 0) {
    return same;
  }
  while (block.runnable != 0) {
    const unsigned warp = choose(block.runnable);
    if (block.warp[warp].runnable != 0) {
      return warp;
    }
    block.runnable &= ~(1u << warp);
  }
  return kNone;
}

// The next lane to run, or null where all wait or have exited.
Lane* take_runnable() {
  const unsigned warp = choose_warp();
  if (warp == kNone) {
    return nullptr;
  }
  uint32_t& lanes = block.warp[warp].runnable;
  const unsigned lane = random_state == 0 ? static_cast<unsigned>(std::countr_zero(lanes)) : choose(lanes);
  lanes &= ~(1u << lane);
  return &block.lanes[warp * kWarp + lane];
}

void stop(int status) {
  block.status = status;
  switch_to_launcher();
  __builtin_unreachable();
}

void deadlock() {
  for (unsigned i = 0; i < block.threads; i++) {
    const Lane& lane = block.lanes[i];
    const Warp& warp = block.warp[lane.warp];
    if (((warp.at_warp_barrier | warp.at_block_barrier) >> lane.lane & 1) != 0) {
      const bool whole_block = (warp.at_block_barrier >> lane.lane & 1) != 0;
      stop(fail(kLaunchFailed,
                "%s: deadlock: thread %u waits at %s:%d for the rest of its %s, which never comes",
                block.kernel->name, i, lane.site.file, lane.site.line, whole_block ? "block" : "warp"));
    }
  }
}

// The current lane waits; returns when it may go on.
void wait() {
  Lane& lane = self();
  Lane* next = take_runnable();
  if (next == nullptr) {
    deadlock();
  }
  if (next != &lane) {
    current = next;
    if (next->fiber == nullptr) {
      next->fiber = take_fiber();
    }
    switch_to(*next->fiber);
  }
}

// Of a barrier that the current lane completed: in a seeded order others may go first.
void let_others_go_first() {
  if (random_state != 0) {
    make_runnable(self().warp, 1u << self().lane);
    wait();
  }
}

void exit_lane() {
  Lane& lane = self();
  Warp& warp = block.warp[lane.warp];
  warp.exited |= 1u << lane.lane;
  block.exited++;
  if (block.arrived != 0) {
    stop(fail(kLaunchFailed, "%s: divergent barrier: a thread exits while others wait at %s:%d",
              block.kernel->name, block.barrier.file, block.barrier.line));
  }
  for (uint32_t left = warp.at_warp_barrier; left != 0; left &= left - 1) {
    const Lane& other = block.lanes[lane.warp * kWarp + static_cast<unsigned>(std::countr_zero(left))];
    if ((other.mask >> lane.lane & 1) != 0) {
      stop(fail(kLaunchFailed, "%s: divergent warp: lane %u exits while lane %u waits for it at %s:%d",
                block.kernel->name, lane.lane, other.lane, other.site.file, other.site.line));
    }
  }
}

// What every fiber does, for ever: the lane that it was switched to for, then others that have not begun.
void run_lanes() {
  for (;;) {
    Fiber* fiber = self().fiber;
    block.kernel->run(block.parameters);
    exit_lane();
    Lane* next = take_runnable();
    if (next != nullptr && next->fiber == nullptr) {
      next->fiber = fiber;
      current = next;
      continue;
    }
    give_fiber(fiber);
    if (next != nullptr) {
      current = next;
      switch_to(*next->fiber);
    } else {
      if (block.exited != block.threads) {
        deadlock();
      }
      switch_to_launcher();
    }
  }
}

int run_block() {
  block.arrived = 0;
  block.exited = 0;
  block.any = false;
  block.runnable = 0;
  block.status = kSuccess;
  for (unsigned i = 0; i < block.threads; i++) {
    block.lanes[i].fiber = nullptr;
  }
  if (block.has_copies) {
    for (unsigned i = 0; i < block.threads; i++) {
      block.copies[i].pending.clear();
      block.copies[i].committed = 0;
    }
    block.has_copies = false;
  }
  for (unsigned warp = 0; warp < block.warps; warp++) {
    const unsigned lanes = std::min(kWarp, block.threads - warp * kWarp);
    const uint32_t all = lanes == kWarp ? ~0u : (1u << lanes) - 1;
    block.warp[warp] = {0, 0, 0, all, 0};
    make_runnable(warp, all);
  }
  current = &block.lanes[0];
  Lane* first = take_runnable();
  current = first;
  first->fiber = take_fiber();
  switch_from_launcher(*first->fiber);
  if (block.status != kSuccess) {
    abandon_fibers();
  }
  return block.status;
}

// The poison, also where the address sanitizer lets nobody write: it keeps stretches between variables.
void poison(unsigned char* from, size_t bytes) {
  asm volatile("rep stosb" : "+D"(from), "+c"(bytes) : "a"(kPoison) : "memory");
}

// Between two stretches of known bytes, and flush with the second, whatever the size.
class DynamicShared {
 public:
  explicit DynamicShared(size_t bytes) : bytes_(bytes) {
    static unsigned char* memory = static_cast<unsigned char*>(
        std::aligned_alloc(256, (kMaxShared + 2 * kCanary + 255) / 256 * 256));
    before_ = memory;
    data_ = memory + kCanary;
    after_ = data_ + bytes;
    std::memset(before_, kCanaryByte, kCanary);
    std::memset(after_, kCanaryByte, kCanary);
    poison_for_sanitizer(before_, kCanary);
    poison_for_sanitizer(after_, kCanary);
    dynamic_shared = data_;
  }
  DynamicShared(const DynamicShared&) = delete;
  DynamicShared& operator=(const DynamicShared&) = delete;
  ~DynamicShared() { unpoison_for_sanitizer(before_, kCanary + bytes_ + kCanary); }

  void poison_all() { poison(data_, bytes_); }

  bool intact() {
#ifdef __SANITIZE_ADDRESS__
    return true;  // the sanitizer has seen more
#else
    const auto same = [](const unsigned char* from) {
      return std::all_of(from, from + kCanary, [](unsigned char c) { return c == kCanaryByte; });
    };
    return same(before_) && same(after_);
#endif
  }

 private:
  static constexpr unsigned char kCanaryByte = 0xa5;
  size_t bytes_;
  unsigned char* before_;
  unsigned char* data_;
  unsigned char* after_;
};

uint64_t seed_from_environment() {
  const char* seed = std::getenv("SIMT_SEED");
  return seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10);
}

uint64_t& seed() {
  static uint64_t value = seed_from_environment();
  return value;
}

}  // namespace

void block_barrier(Site site) {
  Lane& lane = self();
  if (block.exited != 0) {
    stop(fail(kLaunchFailed, "%s: divergent barrier: %u threads had exited when others came to %s:%d",
              block.kernel->name, block.exited, site.file, site.line));
  }
  if (block.arrived != 0 && (block.barrier.line != site.line || block.barrier.file != site.file)) {
    stop(fail(kLaunchFailed, "%s: divergent barrier: some threads wait at %s:%d, others at %s:%d",
              block.kernel->name, block.barrier.file, block.barrier.line, site.file, site.line));
  }
  block.barrier = site;
  lane.site = site;
  block.arrived++;
  block.warp[lane.warp].at_block_barrier |= 1u << lane.lane;
  if (block.arrived < block.threads) {
    wait();
    return;
  }
  block.arrived = 0;
  block.voted_any = block.any;
  block.any = false;
  for (unsigned warp = 0; warp < block.warps; warp++) {
    Warp& w = block.warp[warp];
    const uint32_t waiting = w.at_block_barrier;
    w.at_block_barrier = 0;
    make_runnable(warp, warp == lane.warp ? waiting & ~(1u << lane.lane) : waiting);
  }
  let_others_go_first();
}

bool block_any(bool predicate, Site site) {
  block.any |= predicate;
  block_barrier(site);
  // The next barrier completes only when all have come to it, and so have read this.
  return block.voted_any;
}

void warp_barrier(uint32_t mask, void* record, Operation operation, Site site) {
  Lane& lane = self();
  Warp& warp = block.warp[lane.warp];
  const uint32_t bit = 1u << lane.lane;
  const unsigned first_lane = lane.warp * kWarp;
  if ((mask & bit) == 0) {
    stop(fail(kLaunchFailed, "%s: %s:%d: lane %u is not in its own mask %08x", block.kernel->name,
              site.file, site.line, lane.lane, mask));
  }
  if ((mask & warp.exited) != 0) {
    stop(fail(kLaunchFailed, "%s: divergent warp: lane %u waits at %s:%d for lanes that have exited: %08x",
              block.kernel->name, lane.lane, site.file, site.line, mask & warp.exited));
  }
  const uint32_t waiting = warp.at_warp_barrier & mask;
  if (waiting != 0) {
    const Lane& other = block.lanes[first_lane + static_cast<unsigned>(std::countr_zero(waiting))];
    if (other.mask != mask || other.site.line != site.line || other.site.file != site.file) {
      stop(fail(kLaunchFailed,
                "%s: divergent warp: lane %u waits at %s:%d with mask %08x, lane %u at %s:%d with %08x",
                block.kernel->name, other.lane, other.site.file, other.site.line, other.mask, lane.lane,
                site.file, site.line, mask));
    }
  }
  lane.site = site;
  lane.mask = mask;
  lane.record = record;
  const uint32_t together = waiting | bit;
  if (together != (mask & warp.present)) {
    warp.at_warp_barrier |= bit;
    wait();
    return;
  }
  warp.at_warp_barrier &= ~waiting;
  if (operation != nullptr) {
    void* records[kWarp] = {};
    for (uint32_t left = together; left != 0; left &= left - 1) {
      const auto i = static_cast<unsigned>(std::countr_zero(left));
      records[i] = block.lanes[first_lane + i].record;
    }
    operation(records);
  }
  make_runnable(lane.warp, waiting);
  let_others_go_first();
}

void copy_async(void* shared, const void* global, unsigned bytes, unsigned valid) {
  const auto addresses = reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || valid > bytes || addresses % bytes != 0) {
    stop(fail(kMisalignedAddress, "%s: cp.async of %u bytes from %p to %p", block.kernel->name, bytes,
              global, shared));
  }
  std::memset(shared, kPoison, bytes);
  if (count_read != nullptr) {
    count_read(global, valid);
  }
  Copies& copies = copies_of_self();
  copies.pending.push_back({shared, global, bytes, valid, copies.committed});
  block.has_copies = true;
}

void commit_copies() {
  copies_of_self().committed++;
  block.has_copies = true;
}

void wait_copies(unsigned pending) {
  Copies& copies = copies_of_self();
  size_t kept = 0;
  for (const Copy& copy : copies.pending) {
    if (copy.group + pending < copies.committed) {
      std::memcpy(copy.to, copy.from, copy.valid);
      std::memset(static_cast<unsigned char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    } else {
      copies.pending[kept++] = copy;
    }
  }
  copies.pending.resize(kept);
}

const Kernel* const* kernels(size_t* count) {
  *count = static_cast<size_t>(__stop_simt_kernels - __start_simt_kernels);
  return __start_simt_kernels;
}

const Kernel* find(const char* name) {
  size_t count;
  const Kernel* const* all = kernels(&count);
  for (size_t i = 0; i < count; i++) {
    if (std::strcmp(all[i]->name, name) == 0) {
      return all[i];
    }
  }
  return nullptr;
}

int check_parameter_sizes(const Kernel& kernel, const size_t* sizes, size_t count) {
  if (count != kernel.parameter_count) {
    return fail(kInvalidValue, "%s takes %u parameters, was given %zu", kernel.name,
                kernel.parameter_count, count);
  }
  for (size_t i = 0; i < count; i++) {
    if (sizes[i] != kernel.parameters[i].size) {
      return fail(kInvalidValue, "%s: parameter %zu has %u bytes, was given %zu", kernel.name, i,
                  kernel.parameters[i].size, sizes[i]);
    }
  }
  return kSuccess;
}

int check_launch(const Kernel& kernel, dim3 grid, dim3 threads, size_t shared_bytes) {
  const uint64_t in_block = uint64_t{threads.x} * threads.y * threads.z;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  if (in_block == 0 || in_block > kMaxThreads || threads.z > 64) {
    return fail(kInvalidValue, "%s: a block of %u x %u x %u threads", kernel.name, threads.x, threads.y,
                threads.z);
  }
  if (blocks == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
    return fail(kInvalidValue, "%s: a grid of %u x %u x %u blocks", kernel.name, grid.x, grid.y, grid.z);
  }
  if (in_block > kernel.max_threads) {
    return fail(kOutOfResources, "%s: a block of %u threads, its __launch_bounds__ are %u", kernel.name,
                static_cast<unsigned>(in_block), kernel.max_threads);
  }
  if (shared_bytes > kMaxShared) {
    return fail(kInvalidValue, "%s: %zu bytes of shared memory, a block has at most %zu", kernel.name,
                shared_bytes, kMaxShared);
  }
  return kSuccess;
}

int launch(const Kernel& kernel, dim3 grid, dim3 threads, size_t shared_bytes,
           const unsigned char* parameters) {
  const std::lock_guard<std::mutex> lock(launching);
  if (const int status = check_launch(kernel, grid, threads, shared_bytes); status != kSuccess) {
    return status;
  }
  // Seeds that differ in one bit must not begin alike.
  random_state = seed() * 0x9e3779b97f4a7c15;
  block.kernel = &kernel;
  block.parameters = parameters;
  block.threads = threads.x * threads.y * threads.z;
  block.warps = (block.threads + kWarp - 1) / kWarp;
  for (unsigned i = 0; i < block.threads; i++) {
    Lane& lane = block.lanes[i];
    lane.index = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
    lane.lane = i % kWarp;
    lane.warp = i / kWarp;
  }
  block_dim = threads;
  grid_dim = grid;
  start_fibers(run_lanes);
  DynamicShared shared(shared_bytes);
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        block_index = {x, y, z};
        poison(kernel.shared, static_cast<size_t>(kernel.shared_end - kernel.shared));
        shared.poison_all();
        if (const int status = run_block(); status != kSuccess) {
          return status;
        }
        if (!shared.intact()) {
          return fail(kIllegalAddress, "%s: a write outside the %zu bytes of dynamic shared memory",
                      kernel.name, shared_bytes);
        }
      }
    }
  }
  return kSuccess;
}

const char* last_error() { return message; }

int fail(int status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  return status;
}

void set_seed(uint64_t value) { seed() = value; }

}  // namespace simt
