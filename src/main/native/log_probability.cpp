#include "softmax.hpp"

using namespace LACO_NAMESPACE;

namespace {

double sum_of_exponentials(const float* x, int64_t n, float shift) {
  return sum_of_weights(
      n, [&](int64_t i, int64_t count) { return exp((count == W ? load(x + i) : load(x + i, count)) - shift); });
}

}  // namespace

// Adds vocabulary entries first .. first + columns to the state of each row: logits [rows, columns]. The state is
// the largest logit so far, the sum of exp(logit - largest), and the logit of targets[r]; it starts as -infinity,
// 0 and any number. Rows with a negative target are skipped.
LACO_KERNEL(log_probability)
(const float* logits, int64_t rows, int64_t columns, int64_t first, const int32_t* targets,
 float* most, double* total, float* target_logit) {
#pragma omp parallel for schedule(static) if (rows * columns > kParallel)
  for (int64_t r = 0; r < rows; r++) {
    if (targets[r] < 0) {
      continue;
    }
    const float* row = logits + r * columns;
    const float now = max(most[r], row_maximum(row, columns));
    if (now > most[r]) {
      total[r] *= __builtin_exp(static_cast<double>(most[r]) - static_cast<double>(now));
      most[r] = now;
    }
    const bool nothing_yet = now == -__builtin_inff();
    total[r] += sum_of_exponentials(row, columns, nothing_yet ? 0 : now);
    const int64_t column = targets[r] - first;
    if (column >= 0 && column < columns) {
      target_logit[r] = row[column];
    }
  }
  return LACO_OK;
}
