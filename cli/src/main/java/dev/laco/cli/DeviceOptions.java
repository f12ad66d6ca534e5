package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.DeviceSettings;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where and how to compute. */
@HelpSection.In(HelpSection.DEVICE)
final class DeviceOptions {
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
          "f32 widens the weights: the parity mode. auto takes the weights' own dtype where that is faster. Default: ${DEFAULT-VALUE}.")
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
      description = "CPU threads, 1 to " + DeviceSettings.MOST_THREADS + ". Default: one per core.")
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

  DeviceSettings settings() {
    if (cudaBinding == CudaBinding.JCUDA) {
      JcudaFolder.make();
    }
    return new DeviceSettings(
        device,
        compute,
        threads,
        cudaBinding,
        memory == null ? null : Long.valueOf(memory.bytes()),
        hostMemory == null ? null : Long.valueOf(hostMemory.bytes()));
  }
}
