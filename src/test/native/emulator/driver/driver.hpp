// The stand-in driver's state: devices, their primary contexts, and what a context owns.
//
// The device is slow on purpose: what is asked of a stream is queued and done as late as the API allows, when
// somebody synchronises with it. A program that does not wait for what it needs computes with poison.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda_driver.hpp"
#include "image.hpp"
#include "memory.hpp"
#include "simt.hpp"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#undef warpSize

namespace standin {

struct Operation {
  std::function<CUresult()> run;
  // Of the host, read or written when it runs.
  const void* host = nullptr;
};

}  // namespace standin

// What a stream captured; an executable graph is a copy.
struct CUgraph_st {
  std::vector<standin::Operation> operations;
  bool destroyed = false;
};
struct CUgraphExec_st : CUgraph_st {};

// Handles outlive their objects' destruction, so that a stale one is told from a new one.
struct CUstream_st {
  bool blocking = true;  // waits for the default stream, and it for this one
  bool destroyed = false;
  std::deque<standin::Operation> queue;
  uint64_t done = 0;  // operations since the stream was made
  uint64_t waited = 0;  // those that the host knows to be done
  CUgraph_st* capturing = nullptr;
  uint64_t queued() const { return done + queue.size(); }
};

struct CUevent_st {
  bool timing = true;
  bool destroyed = false;
  // Where it was last recorded.
  CUstream stream = nullptr;
  uint64_t position = 0;
  std::chrono::steady_clock::time_point time;
};

struct CUmod_st {
  standin::Image image;
  bool unloaded = false;
};

struct CUfunc_st {
  const simt::Kernel* kernel;
  CUmodule module;
  size_t static_shared;
  size_t max_dynamic_shared;
};

struct CUctx_st {
  int device = 0;
  int retained = 0;
  std::thread::id opener;  // the thread that retained it first
  CUresult sticky = CUDA_SUCCESS;
  standin::Memory memory;
  CUstream_st default_stream;
  std::vector<std::unique_ptr<CUstream_st>> streams;
  std::vector<std::unique_ptr<CUevent_st>> events;
  std::vector<std::unique_ptr<CUmod_st>> modules;
  std::vector<std::unique_ptr<CUfunc_st>> functions;
  std::vector<std::unique_ptr<CUgraph_st>> graphs;
  std::vector<std::unique_ptr<CUgraphExec_st>> executables;
};

namespace standin {

constexpr int kMaxDevices = 8;
constexpr int kThreadsPerMultiprocessor = 2048;

struct Settings {
  int driver_version = 13000;
  int major = 9;
  int minor = 0;
  int devices = 1;
  int old_devices = 0;  // the first ones, of compute capability 7.0
  size_t memory = size_t{8} << 30;
  size_t static_shared = 0;  // of every function, beside its machine code's
};

Settings settings_from_environment();

struct Driver {
  std::recursive_mutex mutex;
  Settings settings = settings_from_environment();
  bool initialised = false;
  CUctx_st contexts[kMaxDevices];
  int64_t fail_allocation = 0;  // allocations until the first that fails
  int64_t fail_launch = 0;
  CUresult launch_failure = CUDA_SUCCESS;
  int64_t launches = 0;
  int64_t allocations = 0;
  int64_t live_allocations = 0;
  int64_t synchronizations = 0;
  int64_t unwritten_words = 0;
  bool counts_only = false;
  bool holds_other_threads = false;
  std::condition_variable_any let_go;
  std::map<std::string, int64_t> work;
  bool log = std::getenv("LACO_STANDIN_LOG") != nullptr;
  bool real = std::getenv("LACO_STANDIN_REAL") != nullptr;
  std::string last_error;
};

Driver& driver();

// Remembers what is wrong and returns the code.
CUresult refuse(CUresult code, const char* format, ...) __attribute__((format(printf, 2, 3)));
bool is_sticky(CUresult code);
// Of a handle or an address that a real driver follows without a check: returns the code, and ends the process where the
// stand-in does as a real one.
CUresult wild(CUresult refused);

CUcontext current_context();

// What every call does that needs no context: begins with the driver's lock, and cuInit must have been called.
CUresult with_driver(const char* name, const std::function<CUresult(Driver&)>& action);
// And one that needs a context: the thread's current one, alive, without a sticky error.
CUresult with_context(const char* name, const std::function<CUresult(CUctx_st&)>& action);

// The default stream for null; null where the handle is not one of the context's.
CUstream find_stream(CUctx_st& context, CUstream stream);

// Adds to what laco_standin_work tells.
void count(const std::string& name, int64_t more);
// For later; at once on the default stream. Never where the device only counts.
CUresult enqueue(CUctx_st& context, CUstream_st& stream, Operation operation);
// Does the stream's operations up to a position; an error becomes the context's sticky one.
CUresult run_until(CUctx_st& context, CUstream_st& stream, uint64_t position);
CUresult run_all(CUctx_st& context);
// What a call does for which the host waits until then; counted unless the host knows already that it is done. It begins
// once no test holds the thread.
CUresult wait_until(CUctx_st& context, CUstream_st& stream, uint64_t position);
CUresult wait_for_all(CUctx_st& context);
// The static and dynamic shared memory that a block may have at most.
size_t most_shared(const Settings& settings);

void destroy(CUctx_st& context);

}  // namespace standin
