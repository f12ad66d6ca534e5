// mix.cu against the plain loop in f64, bit for bit.
#include <limits>
#include <memory>

#include "check.hpp"
#include "mix_job.hpp"

namespace {

constexpr int64_t kElements = 4096;

template <class T>
constexpr int32_t type_code() {
  return std::is_same_v<T, __half> ? 1 : std::is_same_v<T, __nv_bfloat16> ? 2 : 0;
}

using Coefficients = std::vector<std::vector<double>>;  // [out][source]

// True for equal bits, and for any two NaN.
bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

double plain_sum(const std::vector<double>& coefficients, const std::vector<double>& x) {
  double sum = coefficients[0] * x[0];
  for (size_t j = 1; j < x.size(); j++) {
    sum += coefficients[j] * x[j];
  }
  return sum;
}

// A mix of sources of type S into outs of type T, in guarded memory; the last source and the last out may be
// misaligned.
template <class S, class T>
class Tensor {
 public:
  Tensor(const std::vector<std::vector<S>>& sources, const Coefficients& coefficients,
         size_t shift_source = 0, size_t shift_out = 0)
      : sources_(sources), coefficients_(coefficients) {
    std::vector<const void*> from;
    for (const auto& source : sources) {
      const size_t shift = memory_.size() + 1 == sources.size() ? shift_source : 0;
      memory_.push_back(std::make_unique<check::Buffer<S>>(source, shift));
      from.push_back(memory_.back()->data());
    }
    std::vector<void*> to;
    std::vector<double> flat;
    for (const auto& row : coefficients) {
      const size_t shift = outs_.size() + 1 == coefficients.size() ? shift_out : 0;
      outs_.push_back(std::make_unique<check::Buffer<T>>(elements(), shift));
      to.push_back(outs_.back()->data());
      flat.insert(flat.end(), row.begin(), row.end());
    }
    from_ = std::make_unique<check::Buffer<const void*>>(from);
    to_ = std::make_unique<check::Buffer<void*>>(to);
    types_ = std::make_unique<check::Buffer<int32_t>>(std::vector(sources.size(), type_code<S>()));
    flat_ = std::make_unique<check::Buffer<double>>(flat);
  }

  size_t elements() const { return sources_[0].size(); }

  // Makes the kernel write its out over this source; both must be of one type.
  void in_place(size_t source) { (*to_)[0] = memory_[source]->data(); }

  MixJob job(int64_t first_block) {
    return {static_cast<int64_t>(elements()),
            first_block,
            from_->data(),
            types_->data(),
            flat_->data(),
            to_->data(),
            static_cast<int32_t>(sources_.size()),
            static_cast<int32_t>(coefficients_.size()),
            type_code<T>(),
            0};
  }

  void check(const std::string& what) {
    for (size_t o = 0; o < coefficients_.size(); o++) {
      const T* out = static_cast<const T*>((*to_)[o]);
      for (size_t i = 0; i < elements(); i++) {
        std::vector<double> x;
        for (const auto& source : sources_) {
          x.push_back(check::wide(source[i]));
        }
        const double sum = plain_sum(coefficients_[o], x);
        const double expected = check::wide(check::narrow<T>(sum));
        CHECK_THAT(same(check::wide(out[i]), expected),
                   what + ", out " + std::to_string(o) + ", element " + std::to_string(i) + " is " +
                       std::to_string(check::wide(out[i])) + " for " + std::to_string(sum));
      }
    }
  }

 private:
  std::vector<std::vector<S>> sources_;
  Coefficients coefficients_;
  std::vector<std::unique_ptr<check::Buffer<S>>> memory_;
  std::vector<std::unique_ptr<check::Buffer<T>>> outs_;
  std::unique_ptr<check::Buffer<const void*>> from_;
  std::unique_ptr<check::Buffer<void*>> to_;
  std::unique_ptr<check::Buffer<int32_t>> types_;
  std::unique_ptr<check::Buffer<double>> flat_;
};

void launch(const std::string& kernel, std::vector<MixJob> jobs) {
  int64_t blocks = 0;
  for (MixJob& job : jobs) {
    job.first_block = blocks;
    blocks += (job.elements + kElements - 1) / kElements;
  }
  check::Buffer<MixJob> table(jobs);
  check::launch(kernel, static_cast<unsigned>(blocks), 256, 0,
                static_cast<const MixJob*>(table.data()), static_cast<int32_t>(jobs.size()));
}

template <class S, class T>
void run(const std::string& kernel, Tensor<S, T>& tensor, const std::string& what) {
  launch(kernel, {tensor.job(0)});
  tensor.check(kernel + " to " + check::type_name<T>() + ", " + what);
}

template <class T>
std::vector<std::vector<T>> sources(size_t count, size_t elements) {
  std::vector<std::vector<T>> result;
  for (size_t j = 0; j < count; j++) {
    result.push_back(check::random<T>(elements, 0.02));
  }
  return result;
}

// Coefficients as merge rules have them: thirds, small whole numbers, and fractions such as -0.31.
Coefficients coefficients(size_t outs, size_t sources) {
  const double usual[] = {1, -1, -4, 1.0 / 3, 0.5, 1.0 / 7, -0.31, 0.8};
  Coefficients result(outs);
  for (auto& row : result) {
    for (size_t j = 0; j < sources; j++) {
      row.push_back(usual[check::random_int(0, 7)]);
    }
  }
  return result;
}

// Calls f with the name of each kernel that mixes this type.
template <class T, class Function>
void for_each_kernel(Function f) {
  const std::string type = check::type_name<T>();
  f("laco_mix_any_v1");
  f("laco_mix_" + type + "_v2");
  f("laco_mix_" + type + "_v3");
}

template <class Function>
void for_each_type(Function f) {
  f(float{});
  f(__half{});
  f(__nv_bfloat16{});
}

}  // namespace

TEST(mix_takes_every_length) {
  for_each_type([]<class T>(T) {
    for_each_kernel<T>([](const std::string& kernel) {
      for (size_t n : {1, 7, 31, 32, 33, 127, 257, 4095, 4096, 4097, 2 * 4096, 11008}) {
        Tensor<T, T> tensor(sources<T>(3, n), coefficients(1, 3));
        run(kernel, tensor, std::to_string(n) + " elements");
      }
    });
  });
}

TEST(mix_takes_every_number_of_sources_and_outs) {
  for_each_type([]<class T>(T) {
    for_each_kernel<T>([](const std::string& kernel) {
      for (size_t count : {1, 2, 3, 4, 5, 8, 9, 16, 33, 128, 129}) {
        Tensor<T, T> tensor(sources<T>(count, kElements), coefficients(1, count));
        run(kernel, tensor, std::to_string(count) + " sources");
      }
      for (size_t outs : {2, 3, 4, 5, 33}) {
        Tensor<T, T> tensor(sources<T>(2, kElements), coefficients(outs, 2));
        run(kernel, tensor, std::to_string(outs) + " outs");
        Tensor<T, float> wide(sources<T>(5, kElements + 5), coefficients(outs, 5));
        run(kernel, wide, std::to_string(outs) + " outs");
      }
    });
  });
}

TEST(mix_takes_unaligned_tensors) {
  for_each_type([]<class T>(T) {
    for_each_kernel<T>([](const std::string& kernel) {
      for (size_t shift : {1, 2, 3, 8}) {
        Tensor<T, T> from(sources<T>(2, 2 * kElements), coefficients(2, 2), shift, 0);
        run(kernel, from, "a source shifted by " + std::to_string(shift));
        Tensor<T, T> to(sources<T>(2, 2 * kElements), coefficients(2, 2), 0, shift);
        run(kernel, to, "an out shifted by " + std::to_string(shift));
      }
    });
  });
}

TEST(mix_takes_many_tensors_at_once) {
  for_each_type([]<class T>(T) {
    for_each_kernel<T>([](const std::string& kernel) {
      for (size_t count = 1; count <= 10; count++) {
        std::vector<std::unique_ptr<Tensor<T, T>>> tensors;
        std::vector<MixJob> jobs;
        for (size_t k = 0; k < count; k++) {
          const auto n = static_cast<size_t>(check::random_int(1, 3 * kElements));
          tensors.push_back(std::make_unique<Tensor<T, T>>(sources<T>(k % 3 + 1, n),
                                                           coefficients(k % 2 + 1, k % 3 + 1)));
          jobs.push_back(tensors.back()->job(0));
        }
        launch(kernel, jobs);
        for (const auto& tensor : tensors) {
          tensor->check(kernel + ", " + std::to_string(count) + " tensors");
        }
      }
    });
  });
}

TEST(mix_writes_over_any_of_its_sources) {
  for_each_type([]<class T>(T) {
    for_each_kernel<T>([](const std::string& kernel) {
      for (size_t source = 0; source < 5; source++) {
        // v3 computes some vectors again in f64, and must not have overwritten their sources by then.
        Tensor<T, T> tensor(sources<T>(5, kElements + 40), {{1, 0.5, -3, 0.25, -1}});
        tensor.in_place(source);
        run(kernel, tensor, "over source " + std::to_string(source));
      }
    });
  });
}

TEST(mix_takes_sources_of_several_types) {
  const size_t n = kElements + 77;
  check::Buffer<float> a(check::random<float>(n));
  check::Buffer<__half> b(check::random<__half>(n));
  check::Buffer<__nv_bfloat16> c(check::random<__nv_bfloat16>(n));
  check::Buffer<const void*> from({a.data(), b.data(), c.data()});
  check::Buffer<int32_t> types({0, 1, 2});
  const std::vector<double> row = {0.3, -1, 2.5};
  check::Buffer<double> flat(row);
  for_each_type([&]<class T>(T) {
    check::Buffer<T> out(n);
    check::Buffer<void*> to({out.data()});
    launch("laco_mix_any_v1", {{static_cast<int64_t>(n), 0, from.data(), types.data(), flat.data(), to.data(),
                                3, 1, type_code<T>(), 0}});
    for (size_t i = 0; i < n; i++) {
      const double sum = plain_sum(row, {check::wide(a[i]), check::wide(b[i]), check::wide(c[i])});
      CHECK_THAT(same(check::wide(out[i]), check::wide(check::narrow<T>(sum))), std::to_string(i));
    }
  });
}

// Sums that are halfway between two values of T, or closer to halfway than f32 can tell; sums that overflow,
// underflow and cancel.
TEST(mix_rounds_once) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> values = {
      1, -1, 1.5, 0x1.02p0, 0x1.004p0, 0x1p-7, 0x1p-8, 0x1.8p-8, 0x1p-9, -0x1p-9, 0x1p-10, 0x1p-11, 0x1.8p-11,
      0x1p-12, 0x1p-24, 0x1p-25, -0x1p-25, 0x1.8p-25, 3, 5, 7, 0, -0.0, 65504, -65504, 0x1.fep127, -0x1.fep127,
      0x1.fffffep127, 0x1p-126, 0x1.02p-126, 0x1.fcp-127, 0x1p-133, -0x1p-133, 0x1p-134, 0x1p-149, 0x1p-14,
      0x1.ff8p-15, 32, 48, infinity, -infinity, std::numeric_limits<double>::quiet_NaN()};
  const std::vector<double> factors = {
      1, -1, 0.5, 0.25, 3, -7, 31 + 255 * 0x1p-8, 1 + 0x1p-8, 0x1p-8, 0x1p-9, 1 + 0x1p-9, 32, 1 + 0x1p-52,
      1 - 0x1p-53, 1 + 0x1p-30, 1 + 0x1p-23, 1.0 / 3, 1e-3, 0x1p-16, 0x1p-24, -0x1p-40, 0x1p-149, 0x1p-300,
      0x1p60, 0x1p127, 0x1p200};
  const auto any = [](const std::vector<double>& from, size_t first) {
    return from[static_cast<size_t>(check::random_int(0, static_cast<int>(first) - 1))];
  };
  for_each_type([&]<class T>(T) {
    for_each_kernel<T>([&](const std::string& kernel) {
      for (int round = 0; round < 60; round++) {
        // Every other round has only values and coefficients for which v3 may compute in f32.
        const bool tame = round % 2 == 0;
        const size_t count = static_cast<size_t>(round % 4 + 1);
        std::vector<std::vector<T>> from(count, std::vector<T>(kElements));
        for (auto& source : from) {
          for (T& x : source) {
            x = check::narrow<T>(any(values, tame ? 21 : values.size()));
          }
        }
        Coefficients rows(1);
        for (size_t j = 0; j < count; j++) {
          rows[0].push_back(any(factors, tame ? 9 : factors.size()));
        }
        if (round % 3 == 0) {
          Tensor<T, float> wide(from, rows);
          run(kernel, wide, "hard cases");
        }
        Tensor<T, T> tensor(from, rows);
        run(kernel, tensor, "hard cases");
      }
    });
  });
}

// Sums whose result would differ if a product were rounded to f32.
TEST(mix_loses_nothing_of_a_product) {
  const auto all = []<class T>(T, double value) { return std::vector(kElements, check::narrow<T>(value)); };
  const float f32{};
  for_each_kernel<__nv_bfloat16>([&](const std::string& kernel) {
    const __nv_bfloat16 bf16{};
    Tensor<__nv_bfloat16, __nv_bfloat16> long_coefficient({all(bf16, 0x1.02p0)}, {{180351}});
    run(kernel, long_coefficient, "18 bits by 8");
  });
  for_each_kernel<float>([&](const std::string& kernel) {
    Tensor<float, float> inexact({all(f32, 1 + 0x1p-23), all(f32, 3)}, {{3, -1}});
    run(kernel, inexact, "24 bits by 2");
    Tensor<float, float> tiny({all(f32, 150 * 0x1p-149), all(f32, 150 * 0x1p-149)}, {{0x1p-8, 0x1p-8}});
    run(kernel, tiny, "products below f32");
  });
}
