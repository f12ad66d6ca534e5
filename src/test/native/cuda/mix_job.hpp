// The layout of MixJob in mix.cu.
#pragma once

#include <cstdint>

struct MixJob {
  int64_t elements;
  int64_t first_block;
  const void* const* sources;
  const int32_t* source_types;
  const double* coefficients;
  void* const* outs;
  int32_t source_count;
  int32_t out_count;
  int32_t out_type;
  int32_t reserved;
};
