#include "laco.hpp"

using namespace LACO_NAMESPACE;

// out[r][i] = from[r][columns[i]] for i < count. from [rows, from_width], out [rows, count] with out_width elements from
// row to row, both of the type dtype.
LACO_KERNEL(gather_columns)
(const void* from, int32_t dtype, const int32_t* columns, int64_t count, int64_t rows, int64_t from_width,
 int64_t out_width, void* out) {
  return with_dtype(dtype, from, [&](auto* table) {
    auto* to = writable(static_cast<decltype(table)>(out));
#pragma omp parallel for schedule(static) if (rows * count > kParallelLight)
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t i = 0; i < count; i++) {
        to[r * out_width + i] = table[r * from_width + columns[i]];
      }
    }
  });
}
