package dev.laco.cli;

import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuLibraries;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.CudaBinding;
import dev.laco.backend.cuda.NoCudaException;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.ffi.WatchedMapping;
import dev.laco.model.ModelConfig;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Opens the backend that a user names. */
final class Backends {
  /** At most so many digits as an int surely holds. */
  private static final Pattern CUDA = Pattern.compile("cuda(?::([0-9]{1,9}))?");

  private Backends() {}

  /**
   * A backend, and why it is this one.
   *
   * @param reason empty where the user chose it
   */
  record Choice(Backend backend, String reason) {
    /** The device, in what type it multiplies by a model's weights, and why, for people. */
    String describe(OpenModel model) {
      String device = backend.info().name() + ", " + backend.describeProducts(model.weightType());
      return reason.isEmpty() ? device : device + "; " + reason;
    }
  }

  /**
   * Opens a device.
   *
   * @param device {@code auto}, {@code cpu}, {@code cuda}, {@code cuda:N} or {@code reference}
   * @param threads CPU threads, 0 for one per core
   * @param model what it will run
   * @throws UsageException if there is no such device name
   * @throws ResourceException if the device cannot be used; another is never taken in its place
   */
  static Choice open(
      String device, Compute compute, int threads, CudaBinding binding, ModelConfig model) {
    if (device.equals("auto")) {
      return auto(compute, threads, binding, model);
    }
    if (device.equals("cpu")) {
      return new Choice(cpu(compute, threads, model), "");
    }
    if (device.equals("reference")) {
      return new Choice(new ReferenceBackend(compute), "");
    }
    Matcher cuda = CUDA.matcher(device);
    if (!cuda.matches()) {
      throw new UsageException(
          "--device " + device + ": expected auto, cpu, cuda[:N] or reference");
    }
    try {
      int ordinal = cuda.group(1) == null ? 0 : Integer.parseInt(cuda.group(1));
      return new Choice(CudaBackend.open(compute, ordinal, binding), "");
    } catch (NoCudaException e) {
      throw new ResourceException("--device " + device + ": " + e.getMessage(), e);
    }
  }

  /** The processor, whose kernels read weights in the mapped files. */
  private static CpuBackend cpu(Compute compute, int threads, ModelConfig model) {
    CpuBackend backend = CpuBackend.open(compute, threads, model);
    WatchedMapping.survive(CpuLibraries.get().kernels());
    return backend;
  }

  /** The first GPU if it can be used, else the processor. */
  private static Choice auto(Compute compute, int threads, CudaBinding binding, ModelConfig model) {
    try {
      return new Choice(CudaBackend.open(compute, 0, binding), "auto: the first GPU");
    } catch (NoCudaException e) {
      return new Choice(cpu(compute, threads, model), "auto: " + e.reason());
    } catch (ResourceException e) {
      return new Choice(cpu(compute, threads, model), "auto: " + e.getMessage());
    }
  }
}
