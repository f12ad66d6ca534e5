// The stand-in libcublas.so.13 (and .12): the few calls that the backend makes. Products run on the stand-in
// driver's streams, f32, f16 or bf16 times the same, summed in f32; triangular systems in f64. A product may be written
// in the type of its factors. Parts of its sum are then rounded to this type too, unless the math mode forbids that.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_driver.hpp"
#include "library_handle.hpp"
#include "narrow.hpp"

namespace {

constexpr int kInvalidValue = 7;
constexpr int kExecutionFailed = 13;
constexpr int kNotSupported = 15;

enum Operation : int { kN = 0, kT = 1 };
enum Type : int { kF32 = 0, kF16 = 2, kBf16 = 14 };
constexpr int kCompute32F = 68;
constexpr int kCompute32FFastTf32 = 77;
constexpr int kDisallowReducedPrecisionReduction = 16;

size_t size_of(int type) { return type == kF32 ? 4 : 2; }

// Column-major, as stored.
struct Matrix {
  const void* data;
  int type;
  int operation;
  int64_t leading;

  // Row or column `i` of op(matrix), whichever runs along the sum: elements `from` to `from + count`.
  void read(int64_t i, bool rows, int64_t from, int64_t count, float* to) const {
    // op(A) by rows is contiguous where A is transposed, op(B) by columns where B is not.
    const bool contiguous = rows == (operation == kT);
    const int64_t first = contiguous ? i * leading + from : from * leading + i;
    const int64_t step = contiguous ? 1 : leading;
    switch (type) {
      case kF32:
        return convert<float>(first, step, count, to, [](float x) { return x; });
      case kF16:
        return convert<uint16_t>(first, step, count, to, [](uint16_t x) { return simt::widen_f16(x); });
      default:
        return convert<uint16_t>(first, step, count, to, [](uint16_t x) { return simt::widen_bf16(x); });
    }
  }

  template <class T, class Widen>
  void convert(int64_t first, int64_t step, int64_t count, float* to, Widen widen) const {
    const T* from = static_cast<const T*>(data) + first;
    if (step == 1) {  // in vectors
      for (int64_t k = 0; k < count; k++) {
        to[k] = widen(from[k]);
      }
      return;
    }
    for (int64_t k = 0; k < count; k++) {
      to[k] = widen(from[k * step]);
    }
  }
};

struct Product {
  int64_t m, n, k;
  float alpha, beta;
  Matrix a, b;
  void* c;
  int type;  // of c
  bool rounds_parts;
  int64_t leading;

  float read(int64_t i) const {
    switch (type) {
      case kF32:
        return static_cast<const float*>(c)[i];
      case kF16:
        return simt::widen_f16(static_cast<const uint16_t*>(c)[i]);
      default:
        return simt::widen_bf16(static_cast<const uint16_t*>(c)[i]);
    }
  }

  void write(int64_t i, float x) const {
    switch (type) {
      case kF32:
        static_cast<float*>(c)[i] = x;
        break;
      case kF16:
        static_cast<uint16_t*>(c)[i] = simt::narrow_f16(static_cast<double>(x));
        break;
      default:
        static_cast<uint16_t*>(c)[i] = simt::narrow_bf16(x);
    }
  }

  float rounded(float x) const {
    switch (type) {
      case kF32:
        return x;
      case kF16:
        return simt::widen_f16(simt::narrow_f16(static_cast<double>(x)));
      default:
        return simt::widen_bf16(simt::narrow_bf16(x));
    }
  }
};

constexpr int64_t kRows = 64;     // of a block of op(A), and columns of op(B)
constexpr int64_t kDepth = 512;   // of the sum at a time
constexpr int64_t kLanes = 8;

using Vector = float __attribute__((vector_size(4 * kLanes)));

// sums[j][i] += a[i] . b[j] for blocks in memory, kDepth apart, whose ends are zero.
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void multiply(
    const float* a, const float* b, float* sums) {
  constexpr int kTileRows = 4;
  constexpr int kTileColumns = 2;
  for (int64_t j = 0; j < kRows; j += kTileColumns) {
    for (int64_t i = 0; i < kRows; i += kTileRows) {
      Vector tile[kTileColumns][kTileRows] = {};
      for (int64_t k = 0; k < kDepth; k += kLanes) {
        Vector left[kTileRows];
        for (int64_t r = 0; r < kTileRows; r++) {
          std::memcpy(&left[r], a + (i + r) * kDepth + k, sizeof(Vector));
        }
        for (int64_t s = 0; s < kTileColumns; s++) {
          Vector right;
          std::memcpy(&right, b + (j + s) * kDepth + k, sizeof(Vector));
          for (int64_t r = 0; r < kTileRows; r++) {
            tile[s][r] += left[r] * right;
          }
        }
      }
      for (int64_t s = 0; s < kTileColumns; s++) {
        for (int64_t r = 0; r < kTileRows; r++) {
          float sum = 0;
          for (int64_t lane = 0; lane < kLanes; lane++) {
            sum += tile[s][r][lane];
          }
          sums[(j + s) * kRows + i + r] += sum;
        }
      }
    }
  }
}

// A block of rows (or columns) and a stretch of the sum as f32; what is beyond the matrix is zero.
void pack(const Matrix& matrix, bool rows, int64_t first, int64_t count, int64_t from, int64_t depth, float* to) {
  std::fill_n(to, kRows * kDepth, 0.0f);
  for (int64_t i = 0; i < std::min(kRows, count - first); i++) {
    matrix.read(first + i, rows, from, std::min(kDepth, depth - from), to + i * kDepth);
  }
}

void run(const Product& p) {
  std::vector<float> a(kRows * kDepth);
  std::vector<float> b(kRows * kDepth);
  const int64_t blocks = (p.m + kRows - 1) / kRows;
  std::vector<float> sums;
  for (int64_t j = 0; j < p.n; j += kRows) {
    sums.assign(static_cast<size_t>(blocks * kRows * kRows), 0.0f);
    for (int64_t from = 0; from < p.k; from += kDepth) {
      pack(p.b, false, j, p.n, from, p.k, b.data());
      for (int64_t block = 0; block < blocks; block++) {
        pack(p.a, true, block * kRows, p.m, from, p.k, a.data());
        multiply(a.data(), b.data(), sums.data() + block * kRows * kRows);
      }
      if (p.rounds_parts) {
        std::transform(sums.begin(), sums.end(), sums.begin(), [&](float x) { return p.rounded(x); });
      }
    }
    for (int64_t column = 0; column < std::min(kRows, p.n - j); column++) {
      for (int64_t row = 0; row < p.m; row++) {
        const int64_t c = (j + column) * p.leading + row;
        const float sum = sums[static_cast<size_t>((row / kRows * kRows + column) * kRows + row % kRows)];
        p.write(c, p.alpha * sum + (p.beta == 0.0f ? 0.0f : p.beta * p.read(c)));
      }
    }
  }
}

// Whether a matrix as stored, `rows` by `columns`, is all in one allocation.
bool in_memory(const void* data, int64_t rows, int64_t columns, int64_t leading, size_t size) {
  return rows == 0 || columns == 0 ||
         (reinterpret_cast<uintptr_t>(data) % size == 0 &&
          laco_standin_is_device_memory(data, static_cast<size_t>((columns - 1) * leading + rows) * size) != 0);
}

CUresult run_checked(const void* payload) {
  const auto& p = *static_cast<const Product*>(payload);
  const auto reads = [&](const Matrix& x, int64_t rows, int64_t columns) {
    return x.operation == kN ? in_memory(x.data, rows, columns, x.leading, size_of(x.type))
                             : in_memory(x.data, columns, rows, x.leading, size_of(x.type));
  };
  if (!reads(p.a, p.m, p.k) || !reads(p.b, p.k, p.n) || !in_memory(p.c, p.m, p.n, p.leading, size_of(p.type))) {
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  run(p);
  return CUDA_SUCCESS;
}

// op(a) x = b for the columns of b [m, n], in place, a not of ones on its diagonal.
struct Triangle {
  bool upper;
  bool transposed;
  int64_t m, n;
  double alpha;
  const double* a;
  int64_t leading_a;
  double* b;
  int64_t leading_b;
};

void solve(const Triangle& t) {
  for (int64_t column = 0; column < t.n; column++) {
    double* x = t.b + column * t.leading_b;
    const auto a = [&](int64_t row, int64_t at) { return t.a[at * t.leading_a + row]; };
    for (int64_t i = 0; i < t.m; i++) {
      x[i] *= t.alpha;
    }
    // From the first unknown on where op(a) is lower.
    const bool forward = t.upper == t.transposed;
    for (int64_t step = 0; step < t.m; step++) {
      const int64_t i = forward ? step : t.m - 1 - step;
      if (t.transposed) {  // along a column of a
        double sum = x[i];
        for (int64_t k = forward ? 0 : i + 1; k < (forward ? i : t.m); k++) {
          sum -= a(k, i) * x[k];
        }
        x[i] = sum / a(i, i);
      } else {  // likewise, the column of an unknown that is known
        x[i] /= a(i, i);
        for (int64_t k = forward ? i + 1 : 0; k < (forward ? t.m : i); k++) {
          x[k] -= a(k, i) * x[i];
        }
      }
    }
  }
}

CUresult solve_checked(const void* payload) {
  const auto& t = *static_cast<const Triangle*>(payload);
  if (!in_memory(t.a, t.m, t.m, t.leading_a, sizeof(double)) || !in_memory(t.b, t.m, t.n, t.leading_b, sizeof(double))) {
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  solve(t);
  return CUDA_SUCCESS;
}

}  // namespace

LACO_API int cublasCreate_v2(Handle** handle) { return create(handle); }

LACO_API int cublasDestroy_v2(Handle* handle) { return destroy(handle); }

LACO_API int cublasGetProperty(int property, int* value) {
  return get_version({LACO_CUBLAS_VERSION}, property, value) ? kSuccess : kInvalidValue;
}

LACO_API int cublasGetVersion_v2(Handle* handle, int* version) {
  if (!known(handle)) {
    return kNotInitialized;
  }
  constexpr int kVersion[] = {LACO_CUBLAS_VERSION};
  *version = kVersion[0] * 10000 + kVersion[1] * 100 + kVersion[2];
  return kSuccess;
}

LACO_API int cublasSetStream_v2(Handle* handle, CUstream stream) { return set_stream(handle, stream); }

LACO_API int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t bytes) {
  if (!known(handle)) {
    return kNotInitialized;
  }
  const bool fits = reinterpret_cast<uintptr_t>(workspace) % 256 == 0 && laco_standin_is_device_memory(workspace, bytes) != 0;
  return bytes == 0 || fits ? kSuccess : kInvalidValue;
}

LACO_API int cublasSetMathMode(Handle* handle, int mode) {
  if (!known(handle)) {
    return kNotInitialized;
  }
  handle->math_mode = mode;
  return kSuccess;
}

LACO_API int cublasGemmEx(Handle* handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a,
                          int typeA, int lda, const void* b, int typeB, int ldb, const void* beta, void* c, int typeC,
                          int ldc, int compute, int) {
  if (!known(handle) || !has_context()) {
    return kNotInitialized;
  }
  const auto is_operation = [](int operation) { return operation == kN || operation == kT; };
  if (m < 0 || n < 0 || k < 0 || alpha == nullptr || beta == nullptr || !is_operation(transa) || !is_operation(transb) ||
      lda < std::max(1, transa == kN ? m : k) || ldb < std::max(1, transb == kN ? k : n) || ldc < std::max(1, m)) {
    return kInvalidValue;
  }
  const bool input = typeA == kF32 || typeA == kF16 || typeA == kBf16;
  if (!input || typeB != typeA || (typeC != kF32 && typeC != typeA) || (compute != kCompute32F && compute != kCompute32FFastTf32)) {
    return kNotSupported;
  }
  const Product product{m,
                        n,
                        k,
                        *static_cast<const float*>(alpha),
                        *static_cast<const float*>(beta),
                        {a, typeA, transa, lda},
                        {b, typeB, transb, ldb},
                        c,
                        typeC,
                        typeC != kF32 && (handle->math_mode & kDisallowReducedPrecisionReduction) == 0,
                        ldc};
  laco_standin_count("products", 1);
  laco_standin_count(typeA == kF32 ? "operations of products in f32" : "operations of products in 16 bits",
                     2LL * m * n * k);
  return laco_standin_enqueue(handle->stream, run_checked, &product, sizeof(product)) == CUDA_SUCCESS ? kSuccess
                                                                                                     : kExecutionFailed;
}

LACO_API int cublasDtrsm_v2(Handle* handle, int side, int fill, int operation, int diagonal, int m, int n,
                            const double* alpha, const double* a, int lda, double* b, int ldb) {
  if (!known(handle) || !has_context()) {
    return kNotInitialized;
  }
  if (m < 0 || n < 0 || alpha == nullptr || (fill != 0 && fill != 1) || (operation != kN && operation != kT) ||
      lda < std::max(1, m) || ldb < std::max(1, m)) {
    return kInvalidValue;
  }
  if (side != 0 || diagonal != 0) {  // from the left, as the backend has it
    return kNotSupported;
  }
  const Triangle triangle{fill == 1, operation == kT, m, n, *alpha, a, lda, b, ldb};
  laco_standin_count("operations of systems in f64", int64_t{m} * m * n);
  return laco_standin_enqueue(handle->stream, solve_checked, &triangle, sizeof(triangle)) == CUDA_SUCCESS
             ? kSuccess
             : kExecutionFailed;
}

LACO_API const char* cublasGetStatusName(int status) {
  switch (status) {
    case kSuccess:
      return "CUBLAS_STATUS_SUCCESS";
    case kNotInitialized:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case kInvalidValue:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case kExecutionFailed:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case kNotSupported:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "<unknown>";
  }
}

LACO_API const char* cublasGetStatusString(int status) {
  switch (status) {
    case kSuccess:
      return "success";
    case kNotInitialized:
      return "the library was not initialized";
    case kInvalidValue:
      return "an unsupported value or parameter was passed to the function";
    case kExecutionFailed:
      return "the GPU program failed to execute";
    case kNotSupported:
      return "the functionality requested is not supported";
    default:
      return "unknown error";
  }
}
