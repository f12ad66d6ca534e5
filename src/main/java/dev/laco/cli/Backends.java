package dev.laco.cli;

import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.reference.ReferenceBackend;

/** Opens the backend that a user names. */
final class Backends {
  private Backends() {}

  /**
   * A backend, and why it is this one.
   *
   * @param reason empty where the user chose it
   */
  record Choice(Backend backend, String reason) {
    /** The device and why, for people. */
    String describe() {
      return reason.isEmpty() ? backend.device() : backend.device() + "; " + reason;
    }
  }

  /**
   * Opens a device.
   *
   * @param device {@code auto}, {@code cpu}, {@code cuda}, {@code cuda:N} or {@code reference}
   * @param threads CPU threads, 0 for one per core
   * @throws UsageException if there is no such device name
   * @throws ResourceException if the device cannot be used; another is never taken in its place
   */
  static Choice open(String device, Compute compute, int threads) {
    if (device.equals("auto")) {
      return new Choice(
          CpuBackend.open(compute, threads), "auto: this version has no CUDA backend");
    }
    if (device.equals("cpu")) {
      return new Choice(CpuBackend.open(compute, threads), "");
    }
    if (device.equals("reference")) {
      return new Choice(new ReferenceBackend(compute), "");
    }
    if (device.matches("cuda(:[0-9]+)?")) {
      throw new ResourceException(
          "--device " + device + ": this version has no CUDA backend; use --device cpu");
    }
    throw new UsageException("--device " + device + ": expected auto, cpu, cuda[:N] or reference");
  }
}
