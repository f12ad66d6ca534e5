package dev.laco.apply;

import dev.laco.collapse.CollapsePlan;
import java.nio.file.Path;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/** The files of a pruned model, prepared and not yet written. */
interface PrunedFiles {
  /** The plan; where it lies among the files, it names the file that has its new tensors. */
  CollapsePlan plan();

  /** Bytes of all tensors. */
  long tensorBytes();

  /** The element types of the tensors for people; null where they are the original's. */
  @Nullable String types();

  /** Bytes of all files. */
  long bytes();

  /**
   * Writes the files into an empty folder.
   *
   * @param progress is told from time to time how many further bytes of tensors were written
   */
  void write(Path folder, LongConsumer progress);

  /**
   * Opens the files as a loader would, and compares their tensors with those that the plan implies.
   *
   * @throws dev.laco.BadInputException if they differ
   */
  void verify(Path folder);

  /** Gives the files that were written the name of the target. */
  void commit(StagedDirectory staged);
}
