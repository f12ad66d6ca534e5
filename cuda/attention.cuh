// What the kernels of attention and of its gradients share: the rows of a block, and how they are copied.
#pragma once

#include "common.cuh"

namespace laco {

constexpr int kNoWindow = 0x7fffffff;

// T is the type of keys and values.
template <class T>
struct Task {
  const float* query;
  const T* key;    // of the sequence's first key
  const T* value;
  float* out;
  int64_t first_query;           // in query and out
  int64_t first_entry;           // in a table [tokens, heads]
  int query_stride, key_stride;  // from token to token
  int rows, heads, group, past, window, width;

  __device__ Task(const float* q, const T* k, const T* v, float* to, const int32_t* offsets,
                  const int32_t* key_offsets, const int32_t* pasts, int all_heads, int key_heads,
                  int head_width, int sees)
      : query(q),
        out(to),
        query_stride(all_heads * head_width),
        key_stride(key_heads * head_width),
        heads(all_heads),
        group(all_heads / key_heads),
        past(pasts[blockIdx.z]),
        window(sees == 0 ? kNoWindow : sees),
        width(head_width) {
    const int32_t begin = offsets[blockIdx.z];
    rows = (offsets[blockIdx.z + 1] - begin) * group;
    const int head = static_cast<int>(blockIdx.y);
    first_query = int64_t{begin} * query_stride + head * group * width;
    first_entry = int64_t{begin} * heads + head * group;
    const int64_t first_key = int64_t{key_offsets[blockIdx.z]} * key_stride + head * width;
    key = k + first_key;
    value = v + first_key;
  }

  // Later rows see more keys and take longest: their blocks begin first.
  __device__ int first_row(int rows_of_block) const {
    return static_cast<int>(gridDim.x - 1 - blockIdx.x) * rows_of_block;
  }

  // Offsets: of a row in query and out, and in a table [tokens, heads]; of a key in key and value.
  __device__ int64_t offset(int row) const {
    return first_query + int64_t{row / group} * query_stride + row % group * width;
  }
  __device__ int64_t entry(int row) const { return first_entry + int64_t{row / group} * heads + row % group; }
  // The offset in query and out of the row with an entry.
  __device__ int64_t offset_of(int entry) const { return int64_t{entry} * width; }
  __device__ int64_t key_offset(int position) const { return int64_t{position} * key_stride; }

  __device__ int position(int row) const { return past + row / group; }

  // A row sees keys [seen_from, seen_to). Later rows see later keys.
  __device__ int seen_to(int row) const { return position(row) + 1; }
  __device__ int seen_from(int row) const { return max(0, seen_to(row) - window); }
  __device__ bool sees(int position, int key) const {
    return static_cast<uint32_t>(position - key) < static_cast<uint32_t>(window);
  }

  // The sink of the row's head; -infinity without.
  __device__ float sink(const float* sinks, int row) const {
    return sinks == nullptr ? -infinity() : sinks[static_cast<int>(blockIdx.y) * group + row % group];
  }

  // The slope of the row's head per position; 0 without ALiBi.
  __device__ float slope(const float* alibi, int row) const {
    return alibi == nullptr ? 0 : alibi[static_cast<int>(blockIdx.y) * group + row % group];
  }
  // Likewise of the row with an entry.
  __device__ float slope_of(const float* alibi, int entry) const { return alibi == nullptr ? 0 : alibi[entry % heads]; }
};

// Copies rows of the task's width, of which the i-th begins at row_at(i), into shared memory; pads them with zeros to
// `columns`.
template <int kThreads, class RowAt>
__device__ void copy_rows(RowAt row_at, int rows, int width, bool vectors, float* to, int columns,
                          int stride) {
  if (vectors) {
    const int quads = columns / 4;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < rows * quads; i += kThreads) {
      const int row = i / quads, column = i % quads * 4;
      store4(to + row * stride + column,
             column < width ? load4(row_at(row) + column) : make_float4(0, 0, 0, 0));
    }
  } else {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += kThreads) {
      const int row = i / columns, column = i % columns;
      to[row * stride + column] = column < width ? row_at(row)[column] : 0;
    }
  }
}

}  // namespace laco
