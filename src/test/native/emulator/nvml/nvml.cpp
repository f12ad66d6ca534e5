// A stand-in of NVIDIA's management library for the bench: one device, which reports the same clocks, power and
// temperature whenever it is asked. With LACO_STANDIN_THROTTLED=n it says in its first n answers that heat slows it down.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define NVML_API extern "C" __attribute__((visibility("default")))

using nvmlReturn_t = int;
using nvmlDevice_t = struct nvmlDevice_st*;

struct nvmlDevice_st {};

namespace {

constexpr nvmlReturn_t kSuccess = 0;
constexpr nvmlReturn_t kUninitialized = 1;
constexpr nvmlReturn_t kInvalidArgument = 2;
constexpr nvmlReturn_t kNotFound = 6;
constexpr unsigned kClockSm = 1;
constexpr unsigned kClockMemory = 2;
constexpr uint64_t kThermalSlowdown = 0x40;

nvmlDevice_st device;
bool initialised = false;

nvmlReturn_t check(nvmlDevice_t asked) {
  return !initialised ? kUninitialized : asked == &device ? kSuccess : kInvalidArgument;
}

}  // namespace

NVML_API nvmlReturn_t nvmlInit_v2() {
  initialised = true;
  return kSuccess;
}

NVML_API nvmlReturn_t nvmlShutdown() {
  initialised = false;
  return kSuccess;
}

NVML_API nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* id, nvmlDevice_t* found) {
  // What the stand-in driver calls its first device.
  if (std::strcmp(id, "0000:01:00.0") != 0) {
    return kNotFound;
  }
  *found = &device;
  return check(*found);
}

NVML_API nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t asked, unsigned clock, unsigned* megahertz) {
  if (clock != kClockSm && clock != kClockMemory) {
    return kInvalidArgument;
  }
  *megahertz = clock == kClockSm ? 1980 : 2619;
  return check(asked);
}

NVML_API nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t asked, unsigned* milliwatts) {
  *milliwatts = 123456;
  return check(asked);
}

NVML_API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t asked, unsigned sensor, unsigned* celsius) {
  *celsius = 45;
  return sensor != 0 ? kInvalidArgument : check(asked);
}

NVML_API nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t asked, unsigned long long* reasons) {
  static int64_t throttled = [] {
    const char* text = std::getenv("LACO_STANDIN_THROTTLED");
    return text == nullptr ? 0 : std::strtoll(text, nullptr, 10);
  }();
  *reasons = throttled > 0 ? kThermalSlowdown : 0;
  throttled--;
  return check(asked);
}
