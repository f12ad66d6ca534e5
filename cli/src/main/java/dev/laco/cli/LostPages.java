package dev.laco.cli;

import dev.laco.DeviceInfo;
import dev.laco.backend.cpu.CpuLibraries;
import dev.laco.ffi.WatchedMapping;

/** The process survives reads of mapped files that were cut short, and the run ends in an error. */
final class LostPages {
  private LostPages() {}

  /** On the processor, whose kernels read weights in the mapped files. */
  static void watch(DeviceInfo.Kind device) {
    if (device == DeviceInfo.Kind.CPU) {
      WatchedMapping.survive(CpuLibraries.get().kernels());
    }
  }
}
