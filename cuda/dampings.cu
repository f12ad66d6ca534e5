// What steps of AdamW add to roots of running squares, in proportion to the sizes of whole gradients.
//
//   laco_dampings_f32_v1    a block takes a gradient, and some hundred parts of its sum of squares: bound by the launch
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kMostThreads = 256;  // any multiple of 32 up to it

}  // namespace

// parts: of sums of squares, gradient after gradient; ends [gradients]: of each the number of parts up to its last;
// elements [gradients] of each; running [gradients, 2]: of each the words of an f64, the lower first; out [gradients].
// rest: 1 - beta; correction: 1 - beta^step. grid = gradients.
extern "C" __global__ void __launch_bounds__(kMostThreads)
    laco_dampings_f32_v1(const double* parts, const int64_t* ends, const int64_t* elements, uint32_t* running,
                         float* out, double beta, double rest, double factor, double correction, double least) {
  __shared__ double scratch[kMostWarps][1];
  const int64_t first = blockIdx.x == 0 ? 0 : ends[blockIdx.x - 1];
  double sum = 0;
  for (int64_t part = first + threadIdx.x; part < ends[blockIdx.x]; part += blockDim.x) {
    sum += parts[part];
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) {
    uint32_t* words = running + 2 * blockIdx.x;
    const uint64_t bits = static_cast<uint64_t>(words[1]) << 32 | words[0];
    const double before = __longlong_as_double(static_cast<long long>(bits));
    const double now = beta * before + rest * (sum / static_cast<double>(elements[blockIdx.x]));
    words[0] = static_cast<uint32_t>(__double2loint(now));
    words[1] = static_cast<uint32_t>(__double2hiint(now));
    out[blockIdx.x] = __double2float_rn(factor * sqrt(now / correction) + least);
  }
}
LACO_EXPORT(laco_dampings_f32_v1)
