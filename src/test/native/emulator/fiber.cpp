#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "fibers switch registers of x86-64"
#endif

// It returns by a jump: a processor expects a return to where the last call came from, which it never is.
asm(R"(
.text
.type simt_switch,@function
.hidden simt_switch
.globl simt_switch
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size simt_switch,.-simt_switch
)");

namespace simt {

Fiber* running_fiber;

namespace {

constexpr size_t kPage = 4096;
// Stacks lie one behind the other, a page that cannot be touched below each. Their distance decides how
// long a switch among 256 takes, since it decides what shares a cache set: 7 pages 7 ns, 16 pages 12 ns.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 64 * kPage;
#else
constexpr size_t kStack = 6 * kPage;
#endif
constexpr size_t kDistance = kPage + kStack;
constexpr size_t kMaxFibers = 1025;

Fiber fibers[kMaxFibers];
size_t fiber_count;
Fiber* idle[kMaxFibers];
size_t idle_count;
Fiber launcher;
void (*fiber_body)();

#ifdef __SANITIZE_ADDRESS__
Fiber* previous;

// Tells the sanitizer that the running fiber's stack is now in use.
void arrived(void* fake_stack) {
  const void* stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fake_stack, &stack, &bytes);
  if (previous == &launcher) {
    launcher.stack = static_cast<unsigned char*>(const_cast<void*>(stack));
    launcher.bytes = bytes;
  }
}
#endif

void enter() {
#ifdef __SANITIZE_ADDRESS__
  arrived(nullptr);
#endif
  fiber_body();
}

void reset(Fiber& fiber) {
  unpoison_for_sanitizer(fiber.stack, fiber.bytes);
  // Tops lie at different offsets in their pages, that is in different cache sets.
  const size_t number = static_cast<size_t>(&fiber - fibers);
  auto* top = reinterpret_cast<void**>(fiber.stack + fiber.bytes - (1 + number % 64) * 64);
  *--top = nullptr;  // where enter would return to; the stack is aligned for a call
  *--top = reinterpret_cast<void*>(&enter);
  top -= 6;
  fiber.stack_pointer = top;
}

void check(bool condition, const char* what) {
  if (!condition) {
    std::perror(what);
    std::abort();
  }
}

Fiber* make_fiber() {
  static unsigned char* const stacks = [] {
    void* all = mmap(nullptr, kMaxFibers * kDistance, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(all != MAP_FAILED, "stacks of fibers");
    return static_cast<unsigned char*>(all);
  }();
  check(fiber_count < kMaxFibers, "fibers");
  unsigned char* guard = stacks + fiber_count * kDistance;
  check(mprotect(guard, kPage, PROT_NONE) == 0, "guard page of a fiber");
  Fiber& fiber = fibers[fiber_count++];
  fiber.stack = guard + kPage;
  fiber.bytes = kStack;
  reset(fiber);
  return &fiber;
}

}  // namespace

void start_fibers(void (*body)()) { fiber_body = body; }

Fiber* take_fiber() { return idle_count == 0 ? make_fiber() : idle[--idle_count]; }

void give_fiber(Fiber* fiber) { idle[idle_count++] = fiber; }

#ifdef __SANITIZE_ADDRESS__
void switch_to(Fiber& fiber) {
  Fiber& from = *running_fiber;
  previous = &from;
  running_fiber = &fiber;
  __sanitizer_start_switch_fiber(&from.fake_stack, fiber.stack, fiber.bytes);
  simt_switch(&from.stack_pointer, fiber.stack_pointer);
  arrived(from.fake_stack);
}
#endif

void switch_to_launcher() { switch_to(launcher); }

void switch_from_launcher(Fiber& fiber) {
  running_fiber = &launcher;
  switch_to(fiber);
}

void abandon_fibers() {
  idle_count = 0;
  for (size_t i = 0; i < fiber_count; i++) {
    reset(fibers[i]);
    give_fiber(&fibers[i]);
  }
}

void poison_for_sanitizer([[maybe_unused]] const void* memory, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(memory, bytes);
#endif
}

void unpoison_for_sanitizer([[maybe_unused]] const void* memory, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

}  // namespace simt
