package dev.laco.prune;

import dev.laco.apply.OutputFormat;
import dev.laco.checkpoint.gguf.GgufType;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * How a checkpoint is written.
 *
 * @param overwrite whether a checkpoint that is there is replaced
 * @param maxShardBytes most bytes of one weight file; larger checkpoints have several
 * @param dtype F32, F16, BF16 or, in a GGUF file, Q8_0: the type of all weights of a folder, and of
 *     matrices of a GGUF file, of the new ones alone where the original is a GGUF file; null for
 *     the original's
 */
public record WriteSettings(boolean overwrite, long maxShardBytes, @Nullable GgufType dtype) {
  /** No checkpoint is replaced; weight files have at most 5 GB; types are the original's. */
  public static final WriteSettings DEFAULT =
      new WriteSettings(false, OutputFormat.Folder.MAX_SHARD_BYTES, null);

  /**
   * What {@code out} is written as.
   *
   * @throws dev.laco.UsageException if the type is none of a folder
   */
  public OutputFormat format(Path out) {
    return OutputFormat.of(out, maxShardBytes, dtype);
  }
}
