package dev.laco.checkpoint.export;

import java.nio.file.Path;
import java.util.function.LongConsumer;

/** A GGUF file that is prepared and not yet written. */
public interface GgufFile {
  /** Bytes of all tensors. */
  long tensorBytes();

  /** The element types of its tensors for people. */
  String types();

  /** Bytes of the file. */
  long fileBytes();

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws dev.laco.BadInputException if the model's files changed, or a value is too large for
   *     its type
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  void write(Path file, LongConsumer progress);
}
