// What tests set in the stand-in, by calls or by the environment at load, and symbols that it does not have.
#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver.hpp"

namespace standin {
namespace {

int64_t number(const char* variable, int64_t otherwise) {
  const char* value = std::getenv(variable);
  return value == nullptr ? otherwise : std::strtoll(value, nullptr, 10);
}

// Takes a symbol out of this library's table, as if it had been built without it: dlsym does not find it, and
// what calls it cannot bind.
void remove_symbol(const std::string& name) {
  Dl_info info;
  link_map* map = nullptr;
  if (dladdr1(reinterpret_cast<void*>(&driver), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) {
    return;
  }
  const char* names = nullptr;
  ElfW(Sym)* symbols = nullptr;
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_STRTAB) {
      names = reinterpret_cast<const char*>(entry->d_un.d_ptr);
    } else if (entry->d_tag == DT_SYMTAB) {
      symbols = reinterpret_cast<ElfW(Sym)*>(entry->d_un.d_ptr);
    }
  }
  // The linker lays the names behind the symbols.
  for (ElfW(Sym)* one = symbols; reinterpret_cast<const char*>(one + 1) <= names; one++) {
    if (name == names + one->st_name) {
      const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
      const uintptr_t begin = reinterpret_cast<uintptr_t>(one) / page * page;
      if (mprotect(reinterpret_cast<void*>(begin), 2 * page, PROT_READ | PROT_WRITE) == 0) {
        one->st_name = 0;
      }
    }
  }
}

__attribute__((constructor)) void remove_symbols() {
  if (std::getenv("LACO_STANDIN_REAL") != nullptr) {
    // By which tests know the stand-in.
    remove_symbol("laco_standin_reset");
  }
  const char* missing = std::getenv("LACO_STANDIN_MISSING");
  for (std::string left = missing == nullptr ? "" : missing; !left.empty();) {
    const size_t comma = std::min(left.find(','), left.size());
    remove_symbol(left.substr(0, comma));
    left.erase(0, comma + 1);
  }
}

}  // namespace

Settings settings_from_environment() {
  Settings settings;
  settings.driver_version = static_cast<int>(number("LACO_STANDIN_DRIVER_VERSION", settings.driver_version));
  settings.devices = static_cast<int>(number("LACO_STANDIN_DEVICES", settings.devices));
  settings.memory = static_cast<size_t>(number("LACO_STANDIN_MEMORY", static_cast<int64_t>(settings.memory)));
  if (const char* capability = std::getenv("LACO_STANDIN_COMPUTE_CAPABILITY")) {
    std::sscanf(capability, "%d.%d", &settings.major, &settings.minor);
  }
  return settings;
}

}  // namespace standin

using standin::Driver;
using standin::driver;

namespace {

// All that is set and counted is a member; contexts keep their places, since threads hold them.
void with_lock(const std::function<void(Driver&)>& action) {
  const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  action(driver());
}

int64_t counter(int64_t Driver::*which) {
  const std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  return driver().*which;
}

}  // namespace

void laco_standin_reset() {
  with_lock([](Driver& d) {
    for (CUctx_st& context : d.contexts) {
      standin::destroy(context);
    }
    d.settings = standin::settings_from_environment();
    d.initialised = false;
    d.fail_allocation = d.fail_launch = 0;
    d.launches = d.allocations = d.live_allocations = d.synchronizations = d.unwritten_words = 0;
    d.counts_only = d.holds_other_threads = false;
    d.let_go.notify_all();
    d.work.clear();
    d.last_error.clear();
  });
}

void laco_standin_fail_allocation(int64_t nth) {
  with_lock([=](Driver& d) { d.fail_allocation = nth; });
}

void laco_standin_fail_launch(int64_t nth, int code) {
  with_lock([=](Driver& d) {
    d.fail_launch = nth;
    d.launch_failure = code;
  });
}

void laco_standin_driver_version(int version) {
  with_lock([=](Driver& d) { d.settings.driver_version = version; });
}

void laco_standin_compute_capability(int major, int minor) {
  with_lock([=](Driver& d) {
    d.settings.major = major;
    d.settings.minor = minor;
  });
}

void laco_standin_device_count(int count) {
  with_lock([=](Driver& d) { d.settings.devices = std::clamp(count, 0, standin::kMaxDevices); });
}

void laco_standin_old_devices(int count) {
  with_lock([=](Driver& d) { d.settings.old_devices = count; });
}

void laco_standin_memory(int64_t total) {
  with_lock([=](Driver& d) { d.settings.memory = static_cast<size_t>(total); });
}

void laco_standin_static_shared(int64_t bytes) {
  with_lock([=](Driver& d) { d.settings.static_shared = static_cast<size_t>(bytes); });
}

void laco_standin_count_only() {
  with_lock([](Driver& d) { d.counts_only = true; });
}

void laco_standin_hold_other_threads(int hold) {
  with_lock([=](Driver& d) {
    d.holds_other_threads = hold != 0;
    d.let_go.notify_all();
  });
}

void laco_standin_count(const char* name, int64_t more) {
  with_lock([=](Driver& d) { d.work[name] += more; });
}

const char* laco_standin_work() {
  static std::string text;
  with_lock([](Driver& d) {
    text.clear();
    for (const auto& [name, count] : d.work) {
      text += name + "\t" + std::to_string(count) + "\n";
    }
  });
  return text.c_str();
}

int64_t laco_standin_launches() { return counter(&Driver::launches); }
int64_t laco_standin_allocations() { return counter(&Driver::allocations); }
int64_t laco_standin_live_allocations() { return counter(&Driver::live_allocations); }
int64_t laco_standin_synchronizations() { return counter(&Driver::synchronizations); }
int64_t laco_standin_unwritten_words() { return counter(&Driver::unwritten_words); }
const char* laco_standin_last_error() { return driver().last_error.c_str(); }

CUresult cuGetProcAddress_v2(const char* symbol, void** function, int, uint64_t, int* found) {
  // The newest variant of the name that there is.
  for (const char* suffix : {"_v2", ""}) {
    *function = dlsym(RTLD_DEFAULT, (std::string(symbol) + suffix).c_str());
    if (*function != nullptr) {
      break;
    }
  }
  if (found != nullptr) {
    *found = *function != nullptr ? 0 : 1;
  }
  return *function != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
