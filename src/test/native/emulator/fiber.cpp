#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "fibers switch registers of x86-64"
#endif

// Keeps what the calling convention says a call keeps, and goes on where `to` was left.
extern "C" void simt_switch(void** from, void* to);
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
  ret
.size simt_switch,.-simt_switch
)");

namespace simt {

struct Fiber {
  void* stack_pointer;
  unsigned char* stack;
  size_t bytes;
  void* fake_stack;  // of the address sanitizer
};

namespace {

constexpr size_t kPage = 4096;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 256 * 1024;
#else
constexpr size_t kStack = 64 * 1024;
#endif

std::deque<Fiber> fibers;
std::vector<Fiber*> idle;
Fiber launcher;
Fiber* running;
Fiber* previous;
void (*fiber_body)();

void leave(Fiber& to) {
  Fiber& from = *running;
  previous = &from;
  running = &to;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.bytes);
#endif
  simt_switch(&from.stack_pointer, to.stack_pointer);
}

void arrive(void* fake_stack) {
#ifdef __SANITIZE_ADDRESS__
  const void* stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fake_stack, &stack, &bytes);
  if (previous == &launcher) {
    launcher.stack = static_cast<unsigned char*>(const_cast<void*>(stack));
    launcher.bytes = bytes;
  }
#else
  (void)fake_stack;
#endif
}

void enter() {
  arrive(nullptr);
  fiber_body();
}

void reset(Fiber& fiber, size_t number) {
  unpoison_for_sanitizer(fiber.stack, fiber.bytes);
  // Tops at different cache sets: stacks lie at multiples of a large power of two.
  auto* top = reinterpret_cast<void**>(fiber.stack + fiber.bytes - 64 - number % 61 * 192);
  *--top = nullptr;  // where enter would return to; the stack is aligned for a call
  *--top = reinterpret_cast<void*>(&enter);
  top -= 6;
  fiber.stack_pointer = top;
}

Fiber* make_fiber() {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) {
    std::perror("stack of a fiber");
    std::abort();
  }
  Fiber& fiber = fibers.emplace_back();
  fiber.stack = static_cast<unsigned char*>(memory) + kPage;
  fiber.bytes = kStack;
  reset(fiber, fibers.size());
  return &fiber;
}

}  // namespace

void start_fibers(void (*body)()) { fiber_body = body; }

Fiber* take_fiber() {
  if (idle.empty()) {
    return make_fiber();
  }
  Fiber* fiber = idle.back();
  idle.pop_back();
  return fiber;
}

void give_fiber(Fiber* fiber) { idle.push_back(fiber); }

void switch_to(Fiber& fiber) {
  Fiber& self = *running;
  leave(fiber);
  arrive(self.fake_stack);
}

void switch_to_launcher() { switch_to(launcher); }

void switch_from_launcher(Fiber& fiber) {
  running = &launcher;
  switch_to(fiber);
}

void abandon_fibers() {
  idle.clear();
  size_t number = 0;
  for (Fiber& fiber : fibers) {
    reset(fiber, ++number);
    idle.push_back(&fiber);
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
