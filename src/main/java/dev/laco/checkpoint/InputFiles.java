package dev.laco.checkpoint;

import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;

/** Copying the files of a checkpoint, with errors that name the file. */
public final class InputFiles {
  private InputFiles() {}

  /**
   * Copies bytes from one open file to another at its position, without the heap.
   *
   * @param sourcePath names the source in errors
   * @throws BadInputException if the source ends early
   * @throws IOException if the target cannot be written
   */
  public static void transfer(
      Path sourcePath, FileChannel source, long offset, long count, FileChannel target)
      throws IOException {
    long done = 0;
    while (done < count) {
      long moved = source.transferTo(offset + done, count - done, target);
      if (moved <= 0) {
        throw new BadInputException(
            "%s: ends before byte %d; it was truncated while in use"
                .formatted(sourcePath, offset + count));
      }
      done += moved;
    }
  }
}
