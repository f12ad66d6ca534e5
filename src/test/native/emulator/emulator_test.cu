// Kernels of the emulator's own tests, right ones and wrong ones.
#include "cuda_bf16.h"
#include "cuda_fp16.h"

// The sum of a block, by shuffles and shared memory; 32 threads or more, a multiple of 32.
extern "C" __global__ void __launch_bounds__(256) test_block_sum(const float* from, float* to) {
  __shared__ float sums[8];
  float sum = from[static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x];
  for (int bits = 16; bits > 0; bits >>= 1) {
    sum += __shfl_xor_sync(~0u, sum, bits);
  }
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++) {
      total += sums[warp];
    }
    to[blockIdx.x] = total;
  }
}
LACO_EXPORT(test_block_sum)
