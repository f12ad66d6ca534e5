// Settings of the emulator for tests.
#pragma once

#include <cstdint>

namespace simt {

// The seed of the order in which threads run: 0 is the natural order, others shuffle warps and lanes at every barrier.
// At the start it is the environment variable SIMT_SEED.
void set_seed(uint64_t seed);

}  // namespace simt
