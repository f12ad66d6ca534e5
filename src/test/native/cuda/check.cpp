// The main program of the CUDA kernels' tests: laco_cuda_test [PART OF A TEST'S NAME]…
#include "check.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

namespace check {
namespace {

constexpr size_t kPage = 4096;
constexpr unsigned char kPattern = 0xa5;
constexpr int kNan = 0xff;

struct Tests {
  Test* first = nullptr;
  Test** end = &first;
};

Tests& tests() {
  static Tests all;
  return all;
}

const char* running = "";

#ifndef __SANITIZE_ADDRESS__
// Handles an access of a page that may not be accessed: prints the test that ran.
void tell_of_signal(int number) {
  for (const char* text : {"FAILED ", running, ": a memory access that is not allowed\n"}) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
  }
  std::signal(number, SIG_DFL);
}
#endif

}  // namespace

Test::Test(const char* name_, void (*run_)()) : name(name_), run(run_), next(nullptr) {
  *tests().end = this;
  tests().end = &next;
}

void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "FAILED %s (%s:%d): %s\n", running, file, line, what.c_str());
  std::exit(1);
}

std::string Comparison::words() const {
  return "is " + std::to_string(actual) + ", must be " + std::to_string(expected) + " to " + std::to_string(tolerance);
}

Memory::Memory(size_t bytes, size_t shift) : bytes_(bytes) {
  inside_ = (bytes + shift + kPage - 1) / kPage * kPage + kPage;
  void* all = mmap(nullptr, inside_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(all != MAP_FAILED);
  pages_ = static_cast<unsigned char*>(all) + kPage;
  CHECK(mprotect(pages_, inside_, PROT_READ | PROT_WRITE) == 0);
  std::memset(pages_, kPattern, inside_);
  data_ = pages_ + inside_ - bytes - shift;
  std::memset(data_, kNan, bytes);
}

Memory::~Memory() {
  for (unsigned char* p = pages_; p < pages_ + inside_; p++) {
    CHECK((p >= data_ && p < data_ + bytes_) || *p == kPattern);
  }
  munmap(pages_ - kPage, inside_ + 2 * kPage);
}

std::mt19937& generator() {
  static std::mt19937 one(20240217);
  return one;
}

}  // namespace check

int main(int argc, char** argv) {
#ifndef __SANITIZE_ADDRESS__
  std::signal(SIGSEGV, check::tell_of_signal);
#endif
  int count = 0;
  for (const check::Test* test = check::tests().first; test != nullptr; test = test->next) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; i++) {
      wanted = wanted || std::strstr(test->name, argv[i]) != nullptr;
    }
    if (wanted) {
      check::running = test->name;
      const auto start = std::chrono::steady_clock::now();
      test->run();
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      std::printf("%-60s %7.3f s\n", test->name, time.count());
      count++;
    }
  }
  std::printf("%d tests passed\n", count);
  return count > 0 ? 0 : 1;
}
