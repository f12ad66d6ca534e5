// A kernel to begin with: docs/bench-your-kernel.md. A block takes a row; parameters and grid are those of
// laco_rms_norm_f32_v1 (cuda/norm.cu).
#include <cstdint>

extern "C" __global__ void my_rms_norm(const float* x, const float* weight, float* out, int64_t columns, float eps,
                                       float offset, int32_t type) {  // type 0: out is f32
  __shared__ float sums[32];
  const float* row = x + blockIdx.x * columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) sum += row[i] * row[i];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += sums[warp];
  const float scale = rsqrtf(sum / columns + eps);
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x)
    out[blockIdx.x * columns + i] = row[i] * scale * (weight[i] + offset);
}

#ifdef LACO_EMULATED  // the emulated device finds kernels in a table
LACO_EXPORT(my_rms_norm)
#endif
