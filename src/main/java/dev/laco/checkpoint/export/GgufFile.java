package dev.laco.checkpoint.export;

import dev.laco.checkpoint.Checkpoint;
import java.nio.file.Path;
import java.util.function.LongConsumer;

/** A GGUF file that is prepared and not yet written. */
public abstract sealed class GgufFile permits GgufExport, GgufPatch {
  private final Checkpoint source;

  /** The bytes of the file. */
  final GgufWriter writer;

  /** A file of weights of a checkpoint. */
  GgufFile(Checkpoint source, GgufWriter writer) {
    this.source = source;
    this.writer = writer;
  }

  /** The element types of its tensors for people. */
  public abstract String types();

  /** Bytes of all tensors. */
  public final long tensorBytes() {
    return writer.tensorBytes();
  }

  /** Bytes of the file. */
  public final long fileBytes() {
    return writer.fileBytes();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws dev.laco.BadInputException if the model's files changed, or a value is too large for
   *     its type
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  public final void write(Path file, LongConsumer progress) {
    writer.write(file, progress);
    source.requireIntact();
  }
}
