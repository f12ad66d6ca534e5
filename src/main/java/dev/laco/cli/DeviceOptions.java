package dev.laco.cli;

import dev.laco.backend.Compute;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where and how to compute. */
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
          "f32 widens the weights: the parity mode. auto takes the weights' own dtype. Default: ${DEFAULT-VALUE}.")
  Compute compute;

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "CPU threads. Default: one per core.")
  int threads;

  @Option(
      names = "--memory",
      paramLabel = "BYTES",
      description =
          "Budget for buffers beside the mapped weights (KB, MB, GB, KiB, MiB, GiB). Default: what is free.")
  @Nullable ByteSize memory;
}
