// Tests of the emulator itself: what it computes, and that it finds what is wrong with a kernel.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "check.hpp"

namespace {

// Whether `action` ends a process of its own: by a guard page, or by the address sanitizer.
bool dies(const std::function<void()>& action) {
  std::fflush(nullptr);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    action();
    std::_Exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status != 0;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// In the natural order and many others.
void in_orders(const std::function<void()>& action) {
  for (uint64_t seed = 0; seed < 20; seed++) {
    simt::set_seed(seed);
    action();
  }
  simt::set_seed(0);
}

template <class... Arguments>
void check_refused(int status, const char* words, const char* kernel, dim3 grid, dim3 block,
                   size_t shared_bytes, Arguments... arguments) {
  const int actual = simt::launch(kernel, grid, block, shared_bytes, arguments...);
  CHECK_THAT(actual == status, std::string(kernel) + ": " + std::to_string(actual) + " " + simt::last_error());
  CHECK_THAT(std::strstr(simt::last_error(), words) != nullptr, std::string(simt::last_error()));
}

}  // namespace

TEST(emulator_sums_a_block) {
  in_orders([] {
    for (unsigned threads : {32u, 64u, 256u}) {
      const unsigned blocks = 3;
      check::Buffer<float> from(check::random<float>(threads * blocks));
      check::Buffer<float> to(blocks);
      check::launch("test_sum", blocks, threads, 0, from.data(), to.data());
      for (unsigned i = 0; i < blocks; i++) {
        double sum = 0;
        for (unsigned t = 0; t < threads; t++) {
          sum += check::wide(from[i * threads + t]);
        }
        CHECK_CLOSE(check::wide(to[i]), sum, 1e-4, "sum of a block");
      }
    }
  });
}

TEST(emulator_finds_a_missing_barrier) {
  in_orders([] {
    check::Buffer<float> from(std::vector<float>(256, 1.0f));
    check::Buffer<float> to(1);
    check::launch("test_sum_without_barrier", 1, 256, 0, from.data(), to.data());
    // Only where thread 0 comes last of all would it be right.
    CHECK(std::isnan(to[0]));
  });
}

TEST(emulator_finds_either_barrier_of_a_loop) {
  for (const std::string kernel : {"test_ring", "test_warp_ring"}) {
    in_orders([&] {
      for (int left_out = 0; left_out < 3; left_out++) {
        std::vector<int> start(64);
        for (int i = 0; i < 64; i++) {
          start[static_cast<size_t>(i)] = i;
        }
        check::Buffer<int> values(start);
        check::launch(kernel, 1, 64, 256, values.data(), 7, left_out);
        bool right = true;
        for (int i = 0; i < 64; i++) {
          const int expected = kernel == "test_ring" ? (i + 7) % 64 : i / 32 * 32 + (i + 7) % 32;
          right = right && values[static_cast<size_t>(i)] == expected + 7;
        }
        CHECK_THAT(right == (left_out == 0), kernel + " without barrier " + std::to_string(left_out));
      }
    });
  }
}

TEST(emulator_refuses_divergence) {
  in_orders([] {
    check_refused(719, "divergent barrier", "test_divergent_barrier", 1, 64, 0, 7);
    check::launch("test_divergent_barrier", 1, 64, 0, 64);
    check_refused(719, "divergent barrier", "test_exit_before_barrier", 1, 64, 0, 3u);
    check_refused(719, "divergent barrier", "test_exit_before_barrier", 1, 64, 0, 63u);
    check_refused(719, "deadlock", "test_deadlock", 1, 32, 0);
    check_refused(719, "divergent warp", "test_divergent_warp", 1, 32, 0);
    check_refused(719, "divergent warp", "test_exit_before_warp", 1, 32, 0, 3u);
    check_refused(719, "divergent warp", "test_exit_before_warp", 1, 32, 0, 31u);
    // Lanes that the block has not got are not waited for.
    check::launch("test_exit_before_warp", 1, 31, 0, 31u);
    check_refused(719, "not in its own mask", "test_lane_outside_its_mask", 1, 32, 0);
  });
}

TEST(emulator_goes_on_after_a_failure) {
  check_refused(719, "deadlock", "test_deadlock", 1, 256, 0);
  check::Buffer<float> from(std::vector<float>(256, 1.0f));
  check::Buffer<float> to(1);
  check::launch("test_sum", 1, 256, 0, from.data(), to.data());
  CHECK(to[0] == 256.0f);
}

TEST(emulator_shuffles) {
  in_orders([] {
    check::Buffer<int> to(160);
    check::launch("test_shuffles", 1, 32, 0, to.data());
    for (int lane = 0; lane < 32; lane++) {
      const size_t i = static_cast<size_t>(lane);
      CHECK(to[i] == lane * 7 % 32);
      CHECK(to[32 + i] == (lane ^ 5));
      CHECK(to[64 + i] == (lane + 3 < 32 ? lane + 3 : lane));
      CHECK(to[96 + i] == (lane % 8 >= 3 ? lane - 3 : lane));
      CHECK(to[128 + i] == lane / 8 * 8 + 2);
    }
    check::Buffer<int> halves(32);
    check::launch("test_half_warps", 1, 32, 0, halves.data());
    for (size_t lane = 0; lane < 32; lane++) {
      CHECK(halves[lane] == (lane < 16 ? 120 : 376 + 31));
    }
  });
}

TEST(emulator_votes) {
  in_orders([] {
    check::Buffer<uint32_t> to(32);
    check::launch("test_votes", 1, 32, 0, to.data());
    for (size_t lane = 0; lane < 32; lane++) {
      CHECK(to[lane] == 0x49249249u);
    }
  });
}

TEST(emulator_votes_in_a_block) {
  in_orders([] {
    check::Buffer<int> to(64);
    check::launch("test_block_votes", 1, 64, 0, to.data());
    for (size_t i = 0; i < 64; i++) {
      CHECK(to[i] == 0b0010101);
    }
  });
}

TEST(emulator_gathers) {
  in_orders([] {
    check::Buffer<float> to(32);
    check::launch("test_gather", 1, 32, 0, to.data());
    for (size_t lane = 0; lane < 32; lane++) {
      CHECK_CLOSE(check::wide(to[lane]), 60.0, 1e-5, "gathered");
    }
  });
}

TEST(emulator_poisons_shared_memory_for_every_block) {
  check::Buffer<float> to(3 * 64);
  check::launch("test_unwritten", 3, 32, 128, to.data());
  for (size_t i = 0; i < to.size(); i++) {
    CHECK(std::isnan(to[i]));
  }
}

TEST(emulator_bounds_shared_memory) {
  float* none = nullptr;
  check::launch("test_dynamic_shared", 1, 1, 128, 31, none);
  for (int at : {32, -1}) {
    const auto write = [&] { return simt::launch("test_dynamic_shared", 1, 1, 128, at, none); };
    if (kSanitized) {
      CHECK(dies(write));
    } else {
      CHECK(write() == 700);
    }
  }
  if (kSanitized) {
    check::Buffer<float> to(1);
    check::launch("test_static_shared", 1, 32, 0, 31, to.data());
    for (int at : {32, -1}) {
      CHECK(dies([&] { simt::launch("test_dynamic_shared", 1, 1, 128, at, to.data()); }));
      CHECK(dies([&] { simt::launch("test_static_shared", 1, 32, 0, at, to.data()); }));
    }
  }
}

TEST(emulator_bounds_buffers) {
  for (size_t shift : {0, 1}) {
    check::Buffer<float> from(7, shift);
    check::Buffer<float> to(1);
    check::launch("test_read", 1, 1, 0, from.data(), 6, to.data());
    CHECK(dies([&] { simt::launch("test_read", 1, 1, 0, from.data(), 7 + static_cast<int>(shift), to.data()); }));
  }
  CHECK(dies([] {
    check::Buffer<float> buffer(7, 1);
    buffer.data()[7] = 0;
  }));
}

TEST(emulator_copies_late) {
  in_orders([] {
    std::vector<float4> values(64);
    for (size_t i = 0; i < 64; i++) {
      const float first = static_cast<float>(i * 4);
      values[i] = {first, first + 1, first + 2, first + 3};
    }
    check::Buffer<float4> from(values);
    for (int pending = 0; pending < 3; pending++) {
      check::Buffer<float4> to(64);
      check::launch("test_copy_async", 1, 32, 0, from.data(), to.data(), pending);
      for (size_t i = 0; i < 64; i++) {
        const float first = static_cast<float>((i ^ 1) * 4);
        if (i / 32 + static_cast<size_t>(pending) < 2) {
          CHECK(to[i].x == first && to[i].y == first + 1);
          CHECK(i < 32 ? to[i].z == first + 2 && to[i].w == first + 3 : to[i].z == 0 && to[i].w == 0);
        } else {
          CHECK(std::isnan(to[i].x) && std::isnan(to[i].w));
        }
      }
    }
  });
}

TEST(emulator_orders_threads_by_seed) {
  std::set<std::vector<int>> orders;
  for (uint64_t seed : {0, 1, 2, 1}) {
    simt::set_seed(seed);
    check::Buffer<int> turn(std::vector<int>{0});
    check::Buffer<int> turns(96);
    check::launch("test_order", 1, 96, 0, turn.data(), turns.data());
    std::vector<int> order = turns.values();
    CHECK(seed != 0 || std::is_sorted(order.begin(), order.end()));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    CHECK(order.front() == 0 && order.back() == 95);
  }
  CHECK(orders.size() == 3);
  simt::set_seed(0);
}

TEST(emulator_numbers_threads_and_blocks) {
  check::Buffer<uint32_t> to(24 * 30);
  check::launch("test_indices", dim3(2, 3, 4), dim3(5, 3, 2), 0, to.data());
  for (uint32_t i = 0; i < to.size(); i++) {
    CHECK(to[i] == i / 30 * 1000 + i % 30);
  }
}

TEST(emulator_has_a_devices_limits) {
  check_refused(1, "1025 x 1 x 1 threads", "test_deadlock", 1, 1025, 0);
  check_refused(1, "1 x 1 x 65 threads", "test_deadlock", 1, dim3(1, 1, 65), 0);
  check_refused(1, "0 x 1 x 1 threads", "test_deadlock", 1, 0, 0);
  check_refused(1, "1 x 65536 x 1 blocks", "test_deadlock", dim3(1, 65536), 32, 0);
  check_refused(1, "1 x 1 x 65536 blocks", "test_deadlock", dim3(1, 1, 65536), 32, 0);
  check_refused(1, "0 x 1 x 1 blocks", "test_deadlock", 0, 32, 0);
  check_refused(1, "bytes of shared memory", "test_deadlock", 1, 32, 227 * 1024 + 1);
  check_refused(701, "__launch_bounds__ are 256", "test_sum", 1, 288, 0, nullptr, nullptr);
  check_refused(500, "no kernel", "test_nothing", 1, 32, 0);
}

TEST(emulator_checks_parameters) {
  check::Buffer<float> p(std::vector<float>{0.5f});
  check::Buffer<double> to(1);
  const int64_t rows = int64_t{1} << 40;
  check::launch("test_parameters", 1, 1, 0, p.data(), rows, 3, 0.25f, to.data());
  CHECK(to[0] == 0x1p40 + 3.75);
  const simt::Kernel* kernel = simt::find("test_parameters");
  CHECK(kernel->max_threads == 64 && kernel->parameter_bytes == 32);
  check_refused(1, "takes 5 parameters", "test_parameters", 1, 1, 0, p.data());
  check_refused(1, "parameter 1 has 8 bytes", "test_parameters", 1, 1, 0, p.data(), 7, 3, 0.25f, to.data());
}

namespace {

// The nearest of all finite values that 16 bits can hold, ties to the even one; beyond the largest by half
// a unit or more, infinity.
template <class T, unsigned kInfinity, T (*kMake)(unsigned short)>
double nearest(double value) {
  if (std::isinf(value)) {
    return value;
  }
  double best = HUGE_VAL;
  double distance = HUGE_VAL;
  unsigned best_bits = 0;
  const double largest = check::wide(kMake(kInfinity - 1));
  const double second = check::wide(kMake(kInfinity - 2));
  for (unsigned bits = 0; bits < kInfinity; bits++) {
    const double candidate = std::copysign(check::wide(kMake(static_cast<unsigned short>(bits))), value);
    const double away = std::fabs(value - candidate);
    if (away < distance || (away == distance && bits % 2 == 0)) {
      best = candidate;
      distance = away;
      best_bits = bits;
    }
  }
  return best_bits == kInfinity - 1 && distance >= (largest - second) / 2 ? std::copysign(HUGE_VAL, value) : best;
}

template <class T, unsigned kInfinity, T (*kMake)(unsigned short), T (*kNarrow)(double), T (*kNarrowFloat)(float)>
void check_narrowing() {
  const auto same = [](double a, double b) { return a == b && std::signbit(a) == std::signbit(b); };
  const auto check_value = [&](double value) {
    const double expected = nearest<T, kInfinity, kMake>(value);
    CHECK_THAT(same(check::wide(kNarrow(value)), expected), std::to_string(value));
    const float single = static_cast<float>(value);
    CHECK(same(check::wide(kNarrowFloat(single)),
               nearest<T, kInfinity, kMake>(static_cast<double>(single))));
  };
  for (unsigned bits = 0; bits < 0x10000; bits++) {
    const double value = check::wide(kMake(static_cast<unsigned short>(bits)));
    const double again = check::wide(kNarrow(value));
    CHECK(std::isnan(value) ? std::isnan(again) : same(again, value));
    const double single = check::wide(kNarrowFloat(static_cast<float>(value)));
    CHECK(std::isnan(value) ? std::isnan(single) : same(single, value));
  }
  // Halfway between neighbours, and a little to either side of it, in all binades.
  for (unsigned bits = 0; bits + 1 < kInfinity; bits += bits < 8 || bits + 8 > kInfinity ? 1 : 1237) {
    const double low = check::wide(kMake(static_cast<unsigned short>(bits)));
    const double high = check::wide(kMake(static_cast<unsigned short>(bits + 1)));
    const double middle = (low + high) / 2;
    for (double value : {middle, std::nextafter(middle, 0.0), std::nextafter(middle, HUGE_VAL)}) {
      check_value(value);
      check_value(-value);
    }
  }
  const double largest = check::wide(kMake(kInfinity - 1));
  for (double factor : {1.0005, 1.001, 1.01, 2.0}) {
    check_value(largest * factor);
  }
  CHECK(std::isnan(check::wide(kNarrow(NAN))) && std::isnan(check::wide(kNarrowFloat(NAN))));
}

}  // namespace

TEST(emulator_narrows_to_nearest_even) {
  check_narrowing<__half, 0x7c00, __ushort_as_half, __double2half, __float2half_rn>();
  check_narrowing<__nv_bfloat16, 0x7f80, __ushort_as_bfloat16, __double2bfloat16, __float2bfloat16_rn>();
}
