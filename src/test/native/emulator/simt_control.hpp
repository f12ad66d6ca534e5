// What tests set in the emulator.
#pragma once

#include <cstdint>

namespace simt {

// The order in which threads run: 0 the natural one, others shuffle warps and lanes at every barrier. At
// start it is the environment's SIMT_SEED.
void set_seed(uint64_t seed);

}  // namespace simt
