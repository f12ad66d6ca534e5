package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.prune.WriteSettings;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How a checkpoint is written. */
@HelpSection.In(HelpSection.OUTPUT)
final class WriteOptions {
  @Option(
      names = "--max-shard-size",
      paramLabel = "BYTES",
      defaultValue = "5GB",
      description =
          "Most bytes of a weight file (KB, MB, GB, KiB, MiB, GiB). Default: ${DEFAULT-VALUE}.")
  ByteSize maxShardSize;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      description =
          "Element type of the weights: f32, f16, bf16 or, for OUT.gguf, q8_0 (8 bits). Of a GGUF file in OUT.gguf only"
              + " new matrices get it, and all others keep their bytes. Default: MODEL's type; in OUT.gguf q8_0 in the"
              + " place of quantised matrices, in a folder f32.")
  @Nullable MatrixType dtype;

  @Option(
      names = "--overwrite",
      description =
          "Replace OUT if it is a checkpoint and nothing else, and files of others where plan or report go; what is old"
              + " stays until the new is complete.")
  boolean overwrite;

  WriteSettings settings() {
    return new WriteSettings(
        overwrite, maxShardSize.bytes(), dtype == null ? null : dtype.inGguf());
  }
}
