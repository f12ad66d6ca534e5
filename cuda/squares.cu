// Sums of the squares of all elements of many tensors.
//
//   laco_squares_f32_v1    4 bytes and a multiply-add per element: bound by memory. Runs of 16 squares are added in f32,
//                          everything beyond in f64, in an order that depends on the shape alone.
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // vectors that are loaded at once; their 16 elements are a run

struct SquaresJob {
  int64_t elements;
  int64_t first_block;
  const float* x;
  int64_t parts;  // blocks
};
static_assert(sizeof(SquaresJob) == 32, "the host packs these");

}  // namespace

// jobs [count], in order of their blocks; partial [blocks of all jobs]: of the part of a tensor that a block takes.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_squares_f32_v1(const SquaresJob* jobs, int32_t count, double* partial) {
  const SquaresJob& job = job_of_block(jobs, count);
  const int64_t quads = (job.elements + 3) / 4;
  const int64_t each = (quads + job.parts - 1) / job.parts * 4;
  const int64_t start = min(each * (blockIdx.x - job.first_block), job.elements);
  const int64_t n = min(each, job.elements - start);
  const float* const x = global(job.x) + start;
  const bool vectors = aligned4(x);
  double sum = 0;
  for (int64_t first = 4 * static_cast<int64_t>(threadIdx.x); first < n; first += 4 * kUnroll * kThreads) {
    float run = 0;
#pragma unroll
    for (int k = 0; k < kUnroll; k++) {
      for_four(first + 4 * k * kThreads, n, vectors, [&](auto width, int64_t i) {
        constexpr int N = decltype(width)::value;
        const Floats<N> values = load<N>(x + i);
#pragma unroll
        for (int v = 0; v < N; v++) {
          run = fmaf(values[v], values[v], run);
        }
      });
    }
    sum += static_cast<double>(run);
  }
  __shared__ double scratch[kMostWarps][1];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
  }
}
LACO_EXPORT(laco_squares_f32_v1)
