package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.backend.Compute;
import dev.laco.backend.DeviceInfo;
import dev.laco.backend.cuda.CudaBinding;
import dev.laco.backend.cuda.ProductOverride;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where and how to compute. */
@HelpSection.In(HelpSection.DEVICE)
final class DeviceOptions {
  /** More than any machine has; OpenMP dies of a number that the system refuses. */
  private static final int MAX_THREADS = 1024;

  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      defaultValue = "auto",
      description =
          "auto, cpu, cuda[:N] or reference (plain Java, slow, exact). Default: ${DEFAULT-VALUE}.")
  String device;

  @Option(
      names = "--compute",
      paramLabel = "auto|f32",
      defaultValue = "auto",
      description =
          "f32 widens the weights: the parity mode. auto takes the weights' own dtype. Default: ${DEFAULT-VALUE}.")
  Compute compute;

  @Option(
      names = "--cuda-binding",
      paramLabel = "ffm|jcuda",
      defaultValue = "ffm",
      description =
          "How the CUDA driver is called. ffm needs nothing but the driver. Default: ${DEFAULT-VALUE}.")
  CudaBinding cudaBinding;

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "CPU threads, 1 to " + MAX_THREADS + ". Default: one per core.")
  @Nullable Integer threads;

  @Option(
      names = "--memory",
      paramLabel = "BYTES",
      description =
          "On a GPU, the most of its memory for weights and buffers; on the CPU, for buffers beside the weights (KB, MB, GB, KiB, MiB, GiB). Default: what is free, less a margin.")
  @Nullable ByteSize memory;

  @Option(
      names = "--host-memory",
      paramLabel = "BYTES",
      description =
          "The most of this machine's memory for the whole process: Java (160 MB), weights and, on the CPU, buffers; larger models stream. Default: what is free, less a margin.")
  @Nullable ByteSize hostMemory;

  /**
   * Opens the backend that was asked for, for a model, and warns where the environment takes its
   * exactness.
   *
   * @throws UsageException if there is no such device, or no such number of threads
   * @throws dev.laco.ResourceException if it cannot be used
   */
  Backends.Choice open(OpenModel model, Console console) {
    if (threads != null && (threads < 1 || threads > MAX_THREADS)) {
      throw new UsageException("--threads " + threads + ": expected 1 to " + MAX_THREADS);
    }
    Backends.Choice choice =
        Backends.open(device, compute, threads == null ? 0 : threads, cudaBinding, model.config());
    if (compute == Compute.F32 && choice.backend().info().kind() == DeviceInfo.Kind.CUDA) {
      for (ProductOverride override : ProductOverride.of(System.getenv())) {
        console.warning(
            String.format(
                Locale.ROOT,
                "--compute f32: %s=%s %s; unset it",
                override.variable(),
                override.value(),
                override.effect()));
      }
    }
    return choice;
  }
}
