package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.UsageException;
import dev.laco.apply.OutputFormat;
import dev.laco.prune.WriteSettings;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How a checkpoint is written. */
@HelpSection.In(HelpSection.OUTPUT)
final class WriteOptions {
  @Option(
      names = "--max-shard-size",
      paramLabel = "BYTES",
      description =
          "Most bytes of a weight file in a folder (KB, MB, GB, KiB, MiB, GiB). Default: 5GB.")
  @Nullable ByteSize maxShardSize;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      description =
          "Element type of the weights: f32, f16, bf16 or, for OUT.gguf, q8_0 (8 bits). Of a GGUF file in OUT.gguf only"
              + " new matrices get it, and all others keep their bytes. Default: MODEL's type; in the place of quantised"
              + " weights q8_0 in OUT.gguf, and in a folder f32 (of a GGUF file), bf16 (MXFP4) or the type in config.json"
              + " (FP8, compressed-tensors).")
  @Nullable MatrixType dtype;

  @Option(
      names = "--overwrite",
      description =
          "Replace OUT if it is a checkpoint and nothing else, or a GGUF file by OUT.gguf, and files of others where plan or report go; what is old"
              + " stays until the new is complete.")
  boolean overwrite;

  WriteSettings settings() {
    return new WriteSettings(
        overwrite,
        maxShardSize == null ? WriteSettings.DEFAULT.maxShardBytes() : maxShardSize.bytes(),
        dtype == null ? null : dtype.inGguf());
  }

  /**
   * What OUT is written as.
   *
   * @throws UsageException if an option is none of what OUT is
   */
  OutputFormat format(Path out) {
    OutputFormat format = settings().format(out);
    if (maxShardSize != null && format instanceof OutputFormat.Gguf) {
      throw new UsageException(
          "--max-shard-size is of a folder, and " + out + " is one file: leave it out");
    }
    return format;
  }
}
