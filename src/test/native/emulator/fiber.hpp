// Fibers: stacks that one OS thread switches between. They live as long as the program and are used again.
#pragma once

#include <cstddef>

namespace simt {

struct Fiber;

// `body` never returns; every fiber runs it.
void start_fibers(void (*body)());
Fiber* take_fiber();
void give_fiber(Fiber* fiber);
// Leaves the running fiber, which goes on from here when it is switched to.
void switch_to(Fiber& fiber);
void switch_to_launcher();
void switch_from_launcher(Fiber& fiber);
// After switch_to_launcher with fibers that will not go on: all begin anew.
void abandon_fibers();

void poison_for_sanitizer(const void* memory, size_t bytes);
void unpoison_for_sanitizer(const void* memory, size_t bytes);

}  // namespace simt
