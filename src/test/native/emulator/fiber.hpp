// Fibers: stacks that one OS thread switches between. Fibers live as long as the program; a fiber that ended is used
// again.
#pragma once

#include <cstddef>

// Saves the registers that a call must preserve, and goes on where `to` was left.
extern "C" void simt_switch(void** from, void* to);

namespace simt {

struct Fiber {
  void* stack_pointer;
  unsigned char* stack;
  size_t bytes;
  void* fake_stack;  // of the address sanitizer
};

extern Fiber* running_fiber;

// `body` never returns; every fiber runs it.
void start_fibers(void (*body)());
Fiber* take_fiber();
void give_fiber(Fiber* fiber);

// Leaves the running fiber, which goes on from here when it is switched to.
#ifdef __SANITIZE_ADDRESS__
void switch_to(Fiber& fiber);
#else
inline void switch_to(Fiber& fiber) {
  Fiber& from = *running_fiber;
  running_fiber = &fiber;
  simt_switch(&from.stack_pointer, fiber.stack_pointer);
}
#endif
void switch_to_launcher();
void switch_from_launcher(Fiber& fiber);
// After switch_to_launcher with fibers that will not go on: all begin anew.
void abandon_fibers();

void poison_for_sanitizer(const void* memory, size_t bytes);
void unpoison_for_sanitizer(const void* memory, size_t bytes);

}  // namespace simt
