package dev.laco.checkpoint.table;

import dev.laco.BadInputException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Map;

/** Reads the table of a mapped file's tensors. */
@FunctionalInterface
public interface TableReader {
  /**
   * The tensors by name, ordered by offset.
   *
   * @throws BadInputException if the file breaks a rule of its format
   */
  Map<String, TensorInfo> read(Path file, MemorySegment bytes);
}
