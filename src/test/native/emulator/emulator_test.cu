// Kernels of the emulator's own tests, right ones and wrong ones.
#include "cuda_bf16.h"
#include "cuda_fp16.h"

// The sum of a block by shuffles and shared memory; a multiple of 32 threads.
template <bool kBarrier>
void block_sum(const float* from, float* to) {
  __shared__ float sums[8];
  float sum = from[blockIdx.x * blockDim.x + threadIdx.x];
  for (int bits = 16; bits > 0; bits >>= 1) {
    sum += __shfl_xor_sync(~0u, sum, bits);
  }
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
  }
  if (kBarrier) {
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++) {
      total += sums[warp];
    }
    to[blockIdx.x] = total;
  }
}

extern "C" __global__ void __launch_bounds__(256) test_sum(const float* from, float* to) {
  block_sum<true>(from, to);
}
LACO_EXPORT(test_sum)

extern "C" __global__ void __launch_bounds__(256) test_sum_without_barrier(const float* from, float* to) {
  block_sum<false>(from, to);
}
LACO_EXPORT(test_sum_without_barrier)

// Rounds of a ring in shared memory: reads the neighbour's value, then writes its own. Barriers 1 and 2 of
// each round may be left out.
extern "C" __global__ void test_ring(int* values, int rounds, int left_out) {
  LACO_DYNAMIC_SHARED(int, ring);
  const unsigned self = threadIdx.x;
  int value = values[self];
  for (int round = 0; round < rounds; round++) {
    ring[self] = value;
    if (left_out != 1) {
      __syncthreads();
    }
    value = ring[(self + 1) % blockDim.x] + 1;
    if (left_out != 2) {
      __syncthreads();
    }
  }
  values[self] = value;
}
LACO_EXPORT(test_ring)

// The same within a warp.
extern "C" __global__ void test_warp_ring(int* values, int rounds, int left_out) {
  __shared__ int ring[64];
  const unsigned self = threadIdx.x;
  const unsigned next = self / 32 * 32 + (self + 1) % 32;
  int value = values[self];
  for (int round = 0; round < rounds; round++) {
    ring[self] = value;
    if (left_out != 1) {
      __syncwarp();
    }
    value = ring[next] + 1;
    if (left_out != 2) {
      __syncwarp();
    }
  }
  values[self] = value;
}
LACO_EXPORT(test_warp_ring)

extern "C" __global__ void test_divergent_barrier(int threads) {
  if (threadIdx.x < static_cast<unsigned>(threads)) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
LACO_EXPORT(test_divergent_barrier)

extern "C" __global__ void test_exit_before_barrier(unsigned thread) {
  if (threadIdx.x == thread) {
    return;
  }
  __syncthreads();
}
LACO_EXPORT(test_exit_before_barrier)

extern "C" __global__ void test_deadlock() {
  if (threadIdx.x == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}
LACO_EXPORT(test_deadlock)

extern "C" __global__ void test_divergent_warp() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncwarp();
  }
}
LACO_EXPORT(test_divergent_warp)

extern "C" __global__ void test_exit_before_warp(unsigned lane) {
  if (threadIdx.x != lane) {
    __syncwarp();
  }
}
LACO_EXPORT(test_exit_before_warp)

extern "C" __global__ void test_lane_outside_its_mask() { __syncwarp(0xfffe); }
LACO_EXPORT(test_lane_outside_its_mask)

// The two halves of a warp on their own, the second one a step longer.
extern "C" __global__ void test_half_warps(int* sums) {
  const unsigned half = threadIdx.x / 16;
  const uint32_t mask = 0xffffu << (half * 16);
  int sum = static_cast<int>(threadIdx.x);
  for (int bits = 8; bits > 0; bits >>= 1) {
    sum += __shfl_xor_sync(mask, sum, bits);
  }
  if (half == 1) {
    sum = __shfl_sync(mask, sum + static_cast<int>(threadIdx.x), 31);
  }
  sums[threadIdx.x] = sum;
}
LACO_EXPORT(test_half_warps)

// to: [5][32].
extern "C" __global__ void test_shuffles(int* to) {
  const int lane = static_cast<int>(threadIdx.x);
  to[lane] = __shfl_sync(~0u, lane, lane * 7);
  to[32 + lane] = __shfl_xor_sync(~0u, lane, 5);
  to[64 + lane] = __shfl_down_sync(~0u, lane, 3);
  to[96 + lane] = __shfl_up_sync(~0u, lane, 3, 8);
  to[128 + lane] = __shfl_sync(~0u, lane, 2, 8);
}
LACO_EXPORT(test_shuffles)

extern "C" __global__ void test_votes(uint32_t* to) {
  const bool third = threadIdx.x % 3 == 0;
  const uint32_t ballot = __ballot_sync(~0u, third);
  const bool any = __any_sync(~0u, threadIdx.x == 9) != 0 && __any_sync(~0u, false) == 0;
  const bool all = __all_sync(~0u, true) != 0 && __all_sync(~0u, third) == 0;
  to[threadIdx.x] = any && all ? ballot : 0;
}
LACO_EXPORT(test_votes)

// Bit i: what the i-th vote said.
extern "C" __global__ void test_block_votes(int* to) {
  int votes = 0;
  for (unsigned i = 0; i < 8; i++) {
    votes |= __syncthreads_or(i % 2 == 0 && threadIdx.x == 11 * i) << i;
  }
  to[threadIdx.x] = votes;
}
LACO_EXPORT(test_block_votes)

extern "C" __global__ void test_gather(float* to) {
  const auto all = simt::gather(~0u, static_cast<float>(threadIdx.x));
  float sum = 0;
  for (float value : all.lanes) {
    sum = sum * 0.5f + value;
  }
  to[threadIdx.x] = sum;
}
LACO_EXPORT(test_gather)

// Shared memory as a block finds it: static, then dynamic; and leaves something there.
extern "C" __global__ void test_unwritten(float* to) {
  __shared__ float words[32];
  LACO_DYNAMIC_SHARED(float, more);
  const unsigned self = threadIdx.x;
  to[blockIdx.x * 64 + self] = words[self];
  to[blockIdx.x * 64 + 32 + self] = more[self];
  words[self] = 1;
  more[self] = 1;
}
LACO_EXPORT(test_unwritten)

// Writes, or reads, one element of dynamic shared memory.
extern "C" __global__ void test_dynamic_shared(int at, float* read) {
  LACO_DYNAMIC_SHARED(float, words);
  if (read != nullptr) {
    *read = words[at];
  } else {
    words[at] = 1;
  }
}
LACO_EXPORT(test_dynamic_shared)

extern "C" __global__ void test_static_shared(int at, float* read) {
  __shared__ float words[32];
  words[threadIdx.x] = 1;
  __syncthreads();
  *read = words[at];
}
LACO_EXPORT(test_static_shared)

extern "C" __global__ void test_read(const float* from, int at, float* to) { *to = from[at]; }
LACO_EXPORT(test_read)

// Two tiles by cp.async; waits for as many as it is told.
extern "C" __global__ void test_copy_async(const float4* from, float4* to, int pending) {
  __shared__ float4 tiles[2][32];
  const unsigned self = threadIdx.x;
  for (unsigned tile = 0; tile < 2; tile++) {
    simt::copy_async(&tiles[tile][self], &from[tile * 32 + self], 16, tile == 0 ? 16 : 8);
    simt::commit_copies();
  }
  simt::wait_copies(static_cast<unsigned>(pending));
  __syncthreads();
  to[self] = tiles[0][self ^ 1];
  to[32 + self] = tiles[1][self ^ 1];
}
LACO_EXPORT(test_copy_async)

// Every thread's turn.
extern "C" __global__ void test_order(int* turn, int* turns) { turns[threadIdx.x] = (*turn)++; }
LACO_EXPORT(test_order)

extern "C" __global__ void test_indices(uint32_t* to) {
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  to[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}
LACO_EXPORT(test_indices)

extern "C" __global__ void __launch_bounds__(64) test_parameters(const float* p, int64_t rows, int32_t n,
                                                                  float eps, double* to) {
  *to = static_cast<double>(*p) + static_cast<double>(rows) + n + static_cast<double>(eps);
}
LACO_EXPORT(test_parameters)

// Every part of 1024 elements of a table is read by several blocks, which are neighbours in the grid or far apart.
extern "C" __global__ void test_shared_parts(const float* table, float* sums, int neighbours) {
  const unsigned part = neighbours != 0 ? blockIdx.y : blockIdx.x;
  const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
  float sum = 0;
  for (unsigned i = threadIdx.x; i < 1024; i += blockDim.x) {
    sum += table[part * 1024 + i];
  }
  sums[block * blockDim.x + threadIdx.x] = sum;
}
LACO_EXPORT(test_shared_parts)
