package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.prune.WriteSettings;
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
      names = "--overwrite",
      description =
          "Replace OUT if it is a checkpoint and nothing else, and files of others where plan or report go; what is old"
              + " stays until the new is complete.")
  boolean overwrite;

  WriteSettings settings() {
    return new WriteSettings(overwrite, maxShardSize.bytes());
  }
}
