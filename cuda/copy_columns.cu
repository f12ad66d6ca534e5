// Columns of a matrix, copied to columns of another one whose rows are as many or a multiple of them: heads of keys are put
// together from a part that each head has and one that all heads share. Columns behind the copied ones become 0. A thread
// takes four neighbours.
//
//   laco_copy_columns_f32_v1    8 bytes per element, 6 into 16 bits; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

}  // namespace

// x [rows / copies, x_width], out [rows, out_width], both behind the columns that nothing is copied from or to: n = rows *
// span elements of out are written, `count` of x and zeros in each row. The type of out is named by its code.
// grid = ceil(n / 1024).
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_copy_columns_f32_v1(const float* x, void* out, int64_t n, int64_t span, int64_t count, int64_t copies,
                             int64_t x_width, int64_t out_width, int32_t type) {
  const Activations to = {out, type};
  const bool vectors = span % 4 == 0 && count % 4 == 0 && x_width % 4 == 0 && out_width % 4 == 0 && aligned4(x) &&
                       to.aligned4();
  for_each_of_four(n, vectors, [&](auto width, int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    const int64_t row = i / span;
    const int64_t column = i % span;
    Floats<kWidth> values = {};
    if (column < count) {
      values = load<kWidth>(x + row / copies * x_width + column);
    }
    store(to, row * out_width + column, values);
  });
}
LACO_EXPORT(laco_copy_columns_f32_v1)
