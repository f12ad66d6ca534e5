// Tests of the emulator itself.
#include "check.hpp"

TEST(emulator_block_sum) {
  for (unsigned threads : {32u, 64u, 256u}) {
    const unsigned blocks = 3;
    check::Buffer<float> from(check::random<float>(threads * blocks));
    check::Buffer<float> to(blocks);
    check::launch("test_block_sum", blocks, threads, 0, from.data(), to.data());
    for (unsigned i = 0; i < blocks; i++) {
      double sum = 0;
      for (unsigned t = 0; t < threads; t++) {
        sum += check::wide(from[i * threads + t]);
      }
      CHECK_CLOSE(check::wide(to[i]), sum, 1e-4, "sum of a block");
    }
  }
}
