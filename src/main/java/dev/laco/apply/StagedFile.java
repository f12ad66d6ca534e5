package dev.laco.apply;

import java.nio.file.Path;

/**
 * A file that appears under its name in one step, complete, in the place of the file that is there.
 * Until then it lies in a {@link StagedDirectory} of its own beside that place: no two runs write
 * the same bytes, and what a run leaves that is killed is removed by the next run that writes
 * there.
 */
public final class StagedFile implements AutoCloseable {
  private final StagedDirectory folder;
  private final String name;
  private final StagedDirectory.FileCheck replaceable;

  private StagedFile(Path target, boolean overwrite, StagedDirectory.FileCheck replaceable) {
    this.folder = StagedDirectory.create(target, overwrite, warning -> {});
    this.name = target.getFileName().toString();
    this.replaceable = replaceable;
  }

  /**
   * Checks that a file can be staged, before work is done for it.
   *
   * @param name what errors call the file
   * @param target the real path that the file will have
   * @throws dev.laco.UsageException if a file stands in the place of its folder
   * @throws dev.laco.ResourceException if its folder cannot be written, or the file system there
   *     has no locks
   */
  public static void requirePossible(String name, Path target) {
    StagingLock.requirePossible(name, target.resolveSibling(""));
  }

  /**
   * Begins a file that takes the place of any other, and makes the folders above it that are
   * missing.
   *
   * @param target the real path that the file will have
   * @throws dev.laco.ResourceException if its folder cannot be written
   */
  public static StagedFile create(Path target) {
    return new StagedFile(target, true, (name, there) -> {});
  }

  /**
   * Begins a GGUF file, which takes the place of an empty file or a GGUF file and of nothing else,
   * and makes the folders above it that are missing.
   *
   * @param target the real path that the file will have
   * @param overwrite whether it may take the place of a file at all
   * @throws dev.laco.ResourceException if its folder cannot be written
   */
  public static StagedFile createGguf(Path target, boolean overwrite) {
    return new StagedFile(target, overwrite, Replaceable::requireGguf);
  }

  /**
   * Whether a file or folder has the name of one that is there only while a run writes beside it;
   * the next {@link #create} there removes what a run left that was killed.
   */
  public static boolean isStaging(Path file) {
    return file.getFileName().toString().startsWith(StagingLock.PREFIX);
  }

  /** The path to write the file to, where none is. */
  public Path path() {
    return folder.path().resolve(name);
  }

  /**
   * Gives the file its name.
   *
   * @throws dev.laco.UsageException if a file came to be there meanwhile that may not be replaced
   * @throws dev.laco.ResourceException if the file system does not rename it
   */
  public void commit() {
    folder.commitFile(name, replaceable);
  }

  /** Removes what was written, unless {@link #commit} has ended. */
  @Override
  public void close() {
    folder.close();
  }
}
