// What kernels read and write of device memory, with the L2 cache between: a grid in a poor order reads again what it
// read before, and the bytes tell.
#include "traffic.hpp"

#include <memory>

#include "check.hpp"
#include "mix_job.hpp"

namespace {

constexpr size_t kMegabyte = size_t{1} << 20;

// Device memory whose values do not matter, NaN, from the beginning of a page.
template <class T>
std::vector<std::unique_ptr<check::Buffer<T>>> buffers(size_t count, size_t elements) {
  std::vector<std::unique_ptr<check::Buffer<T>>> all;
  for (size_t i = 0; i < count; i++) {
    all.push_back(std::make_unique<check::Buffer<T>>(elements));
  }
  return all;
}

template <class To, class T>
check::Buffer<To> table_of(const std::vector<std::unique_ptr<check::Buffer<T>>>& all) {
  std::vector<To> addresses;
  for (const auto& one : all) {
    addresses.push_back(one->data());
  }
  return check::Buffer<To>(addresses);
}

template <class T>
void watch(traffic::Counter& counter, const std::vector<std::unique_ptr<check::Buffer<T>>>& all) {
  for (const auto& one : all) {
    counter.watch(*one);
  }
}

// Bytes as a multiple of a buffer.
template <class T>
double times_read(const traffic::Counter& counter, check::Buffer<T>& buffer) {
  return static_cast<double>(counter.of(buffer.data()).read) / static_cast<double>(buffer.size() * sizeof(T));
}

template <class T>
double times_written(const traffic::Counter& counter, check::Buffer<T>& buffer) {
  return static_cast<double>(counter.of(buffer.data()).written) / static_cast<double>(buffer.size() * sizeof(T));
}

}  // namespace

// Blocks that share a part of a table, next to each other in the grid, and as far apart as can be.
TEST(traffic_of_a_grid_depends_on_the_order_of_its_blocks) {
  constexpr unsigned kParts = 512, kReaders = 3;
  check::Buffer<float> table(kParts * 1024), sums(kParts * kReaders * 32);
  for (const bool neighbours : {true, false}) {
    for (const size_t cache : {kMegabyte, 4 * kMegabyte}) {
      traffic::Counter counter(cache);
      counter.watch(table);
      counter.watch(sums);
      const dim3 grid = neighbours ? dim3(kReaders, kParts) : dim3(kParts, kReaders);
      check::launch("test_shared_parts", grid, 32, 0, static_cast<const float*>(table.data()), sums.data(),
                    neighbours ? 1 : 0);
      counter.flush();
      // The table has 2 MB.
      const double expected = neighbours || cache > 2 * kMegabyte ? 1 : kReaders;
      CHECK_CLOSE(times_read(counter, table), expected, 0.1 * expected,
                  std::string(neighbours ? "neighbours" : "far apart") + ", " + std::to_string(cache) + " bytes");
      CHECK(times_written(counter, sums) == 1);
      CHECK(times_read(counter, sums) == 0);
    }
  }
}

TEST(traffic_of_cp_async_is_counted) {
  check::Buffer<float4> from(64), to(64);
  traffic::Counter counter;
  counter.watch(from);
  counter.watch(to);
  check::launch("test_copy_async", 1, 32, 0, static_cast<const float4*>(from.data()), to.data(), 0);
  counter.flush();
  CHECK(times_read(counter, from) == 1);
  CHECK(times_written(counter, to) == 1);
}

// The reference, larger than the cache, comes from memory once for all candidates.
TEST(traffic_of_cosine_reads_the_reference_once) {
  constexpr size_t kCandidates = 2, kTokens = 3584, kColumns = 4096;
  constexpr unsigned kSequences = 7, kParts = 128;
  static_assert(kTokens * kColumns * sizeof(float) > traffic::kCacheBytes);
  const auto candidates = buffers<float>(kCandidates, kTokens * kColumns);
  check::Buffer<float> reference(kTokens * kColumns);
  check::Buffer<double> partial(kCandidates * kSequences * kParts * 3);
  auto table = table_of<const float*>(candidates);
  std::vector<int32_t> bounds;
  for (unsigned s = 0; s <= kSequences; s++) {
    bounds.push_back(static_cast<int32_t>(s * kTokens / kSequences));
  }
  check::Buffer<int32_t> offsets(bounds);
  traffic::Counter counter;
  watch(counter, candidates);
  counter.watch(reference);
  check::launch("laco_cosine_f32_v2", {kCandidates, kParts, kSequences}, 256, 0,
                static_cast<const float* const*>(table.data()), static_cast<const float*>(reference.data()),
                static_cast<const int32_t*>(offsets.data()), partial.data(), static_cast<int64_t>(kColumns),
                static_cast<int32_t>(kSequences));
  CHECK(times_read(counter, reference) == 1);
  for (const auto& candidate : candidates) {
    CHECK(times_read(counter, *candidate) == 1);
  }
}

// Sources come from memory once, for all outs, and outs are written once.
TEST(traffic_of_mix_reads_sources_once) {
  constexpr size_t kSources = 5, kOuts = 3, kElements = 1 << 19;
  const auto sources = buffers<__nv_bfloat16>(kSources, kElements);
  const auto outs = buffers<__nv_bfloat16>(kOuts, kElements);
  auto from = table_of<const void*>(sources);
  auto to = table_of<void*>(outs);
  check::Buffer<int32_t> types(std::vector<int32_t>(kSources, 2));
  check::Buffer<double> coefficients(std::vector<double>(kSources * kOuts, 0.3));
  check::Buffer<MixJob> job(std::vector<MixJob>{{kElements, 0, from.data(), types.data(), coefficients.data(), to.data(),
                                                 kSources, kOuts, 2, 0}});
  for (const char* kernel : {"laco_mix_bf16_v2", "laco_mix_bf16_v3"}) {
    traffic::Counter counter(kMegabyte);
    watch(counter, sources);
    watch(counter, outs);
    check::launch(kernel, kElements / 4096, 256, 0, static_cast<const MixJob*>(job.data()), int32_t{1});
    counter.flush();
    for (const auto& source : sources) {
      CHECK(times_read(counter, *source) == 1);
    }
    for (const auto& out : outs) {
      CHECK(times_read(counter, *out) == 0);
      CHECK(times_written(counter, *out) == 1);
    }
  }
}

// Eq. 1's product reads sources once. All blocks of the same columns, whatever the number of rows, run side by side and
// share them in the cache.
TEST(traffic_of_collapse_product_reads_sources_once) {
  constexpr size_t kSources = 3, kOut = 512, kIn = 128, kRows = 256;
  const auto weights = buffers<__nv_bfloat16>(kSources, kOut * kIn);
  auto from = table_of<const __nv_bfloat16*>(weights);
  check::Buffer<__nv_bfloat16> x(kRows * kIn);
  check::Buffer<float> y(kRows * kOut);
  check::Buffer<double> coefficients(std::vector<double>(kSources, 0.3));
  traffic::Counter counter(kMegabyte / 8);  // as large as a source
  watch(counter, weights);
  counter.watch(y);
  check::launch("laco_collapse_product_bf16_v2", dim3(kOut / 32, kRows / 128), 256, 106496,
                static_cast<const __nv_bfloat16* const*>(from.data()), static_cast<const double*>(coefficients.data()),
                static_cast<const __nv_bfloat16*>(x.data()), static_cast<void*>(y.data()), static_cast<int64_t>(kRows),
                static_cast<int64_t>(kOut), static_cast<int64_t>(kIn), static_cast<int32_t>(kSources),
                check::kCode<float>);
  counter.flush();
  for (const auto& weight : weights) {
    CHECK_CLOSE(times_read(counter, *weight), 1, 0.02, "a source");
  }
  CHECK(times_written(counter, y) == 1);
}
