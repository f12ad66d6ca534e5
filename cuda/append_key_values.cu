// New keys and values of a layer, copied to their rows of a KV cache: keys[rows[t]] = new_keys[t], and values likewise,
// of all sequences of a batch in one launch. Bytes are copied, so that one kernel serves all types. A block takes a row;
// no row is named twice, so that no two blocks write to the same one.
//
//   laco_append_key_values_v1    twice the bytes of each row; bound by memory
#include "common.cuh"

using namespace laco;

namespace {

constexpr int kThreads = 256;

template <class V>
__device__ __forceinline__ void copy_row(char* to, const char* from, int64_t bytes) {
#pragma unroll 1
  for (int64_t i = threadIdx.x * int64_t{sizeof(V)}; i < bytes; i += kThreads * int64_t{sizeof(V)}) {
    *reinterpret_cast<V*>(to + i) = *reinterpret_cast<const V*>(from + i);
  }
}

}  // namespace

// new_keys and new_values [tokens], keys and values [R] in rows of `bytes`, an even number; rows [tokens], below R.
// grid = (tokens, 2): keys, and values.
extern "C" __global__ void __launch_bounds__(kThreads)
    laco_append_key_values_v1(const char* new_keys, const char* new_values, const int32_t* rows, char* keys, char* values,
                              int64_t bytes) {
  const bool second = blockIdx.y == 1;
  char* const to = (second ? values : keys) + rows[blockIdx.x] * bytes;
  const char* const from = (second ? new_values : new_keys) + blockIdx.x * bytes;
  if (bytes % 16 == 0 && aligned(to, 16) && aligned(from, 16)) {
    copy_row<uint4>(to, from, bytes);
  } else {
    copy_row<unsigned short>(to, from, bytes);
  }
}
LACO_EXPORT(laco_append_key_values_v1)
