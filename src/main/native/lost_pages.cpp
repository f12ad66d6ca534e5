// Handles lost pages of mapped files: pages behind the end of a file that another process cut short, or pages that a
// failing disk cannot read. Linux answers a read of a lost page with SIGBUS, which ends the process. For pages of
// watched mappings, the handler maps zeros in their place, sets the mapping's flag `lost`, and lets the read go on.
// Readers look at the flag before they use a result. Any other SIGBUS goes to the handler that was installed before.
// This file is compiled once, not for each tier.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace {

// The layout of the structures that WatchedMapping.java writes. A structure is used for one mapping after the other,
// and is never freed.
struct Watched {
  std::atomic<uintptr_t> begin;
  std::atomic<uintptr_t> end;  // 0 while it is not in use
  std::atomic<int64_t> lost;
  std::atomic<Watched*> next;
};
static_assert(sizeof(Watched) == 32 && std::atomic<uintptr_t>::is_always_lock_free);

using Head = std::atomic<Watched*>;

std::atomic<Head*> watched{nullptr};
struct sigaction before;
uintptr_t page_size;

// All pages from the lost one on are replaced, since all pages behind the new end of a file are lost.
bool replace(uintptr_t address) {
  for (Watched* w = watched.load()->load(std::memory_order_acquire); w != nullptr; w = w->next.load()) {
    const uintptr_t end = w->end.load(std::memory_order_acquire);
    if (w->begin.load() <= address && address < end) {
      const uintptr_t page = address & ~(page_size - 1);
      const int error = errno;
      const void* zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
      errno = error;
      if (zeros == MAP_FAILED) {
        return false;
      }
      w->lost.store(1, std::memory_order_release);
      return true;
    }
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  if (info->si_code == BUS_ADRERR && replace(reinterpret_cast<uintptr_t>(info->si_addr))) {
    return;
  }
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    sigaction(SIGBUS, &before, nullptr);  // the read is repeated, and ends the process
  }
}

}  // namespace

// Installs the handler, once. head points to the address of the first structure. Returns an errno, 0 for success.
extern "C" __attribute__((visibility("default"))) int32_t laco_watch_mappings(void* head) {
  if (watched.exchange(static_cast<Head*>(head)) != nullptr) {
    return 0;
  }
  page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  if (sigaction(SIGBUS, nullptr, &before) != 0) {
    return errno;
  }
  struct sigaction action = before;
  action.sa_sigaction = on_bus_error;
  action.sa_flags |= SA_SIGINFO | SA_RESTART;
  return sigaction(SIGBUS, &action, nullptr) == 0 ? 0 : errno;
}
