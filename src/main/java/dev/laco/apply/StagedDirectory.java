package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A folder that appears under its name in one step, complete; at a mount point in nearly one step.
 * The folder is filled under another name beside the target ({@code .laco-<id>.new}) and renamed
 * when it is complete. A lock file beside it ({@code .laco-<id>.lock}) holds the target's name and
 * is locked as long as the process lives. By the lock, the folders of running processes differ from
 * those of processes that died; the next run that writes into the same parent removes the latter.
 *
 * <p>A mount point (a container's volume, a disk of its own) cannot be renamed over. It must be
 * empty, and lock and {@code .laco-<id>.new} lie inside it. When everything is complete and
 * verified, the files are renamed into the mount point one by one, {@code config.json} last, so
 * that no loader takes a part of them for a model. Meanwhile a list of the files ({@code
 * .laco-<id>.files}) lies there; if the run dies, the next run removes the files in the list.
 *
 * <p>A run that fails removes the files that it wrote, and so does {@link #close} on any thread. A
 * run that is killed leaves the target unchanged.
 */
final class StagedDirectory implements AutoCloseable {
  /** Exchanges two names in one step, or returns false where the system cannot. */
  @FunctionalInterface
  interface Exchange {
    boolean exchange(Path one, Path other) throws IOException;
  }

  /** Throws a {@link UsageException} for a file that may not be replaced. */
  @FunctionalInterface
  interface FileCheck {
    void require(String name, Path file) throws IOException;
  }

  /** The folder that Linux keeps at the top of a file system. */
  private static final String LOST_AND_FOUND = "lost+found";

  private final Path target;
  private final boolean inside;
  private final boolean overwrite;
  private final Exchange exchange;
  private final StagingLock lock;
  private final List<Path> createdParents;
  private boolean done;

  private StagedDirectory(
      Path target,
      boolean inside,
      boolean overwrite,
      Exchange exchange,
      StagingLock lock,
      List<Path> createdParents) {
    this.target = target;
    this.inside = inside;
    this.overwrite = overwrite;
    this.exchange = exchange;
    this.lock = lock;
    this.createdParents = createdParents;
  }

  /**
   * Begins a folder, and removes the files that runs that died left in the same parent.
   *
   * @param target the path that the folder will have; see {@link Target#resolve}
   * @param overwrite whether an existing checkpoint may be replaced
   * @param warnings is told of files that runs that died seem to have left and that are not removed
   * @throws ResourceException if the parent cannot be written
   */
  static StagedDirectory create(Path target, boolean overwrite, Consumer<String> warnings) {
    try {
      boolean inside = Mounts.isMountPoint(target);
      return create(target, inside, overwrite, warnings, DirectoryExchange::exchange);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(target, e);
    }
  }

  /**
   * As {@link #create(Path, boolean, Consumer)}, with a given way to exchange two names.
   *
   * @param inside whether the target exists and must stay, as a mount point does
   */
  static StagedDirectory create(
      Path target,
      boolean inside,
      boolean overwrite,
      Consumer<String> warnings,
      Exchange exchange) {
    List<Path> created = new ArrayList<>();
    try {
      Path home = inside ? target : parent(target);
      createFolders(home, created);
      StagingLock lock = StagingLock.create(home, inside ? "" : target.getFileName().toString());
      StagedDirectory staged =
          new StagedDirectory(target, inside, overwrite, exchange, lock, List.copyOf(created));
      try {
        StaleLocks.removeBeside(lock, warnings);
        Files.createDirectory(staged.path());
      } catch (IOException e) {
        staged.close();
        throw e;
      }
      return staged;
    } catch (IOException e) {
      created.reversed().forEach(StagedDirectory::deleteIfEmpty);
      throw OutputFiles.cannotWrite(target, e);
    }
  }

  /** The folder in which a target's files are staged. */
  static Path home(Path target) throws IOException {
    return Mounts.isMountPoint(target) ? target : parent(target);
  }

  /** Whether a mount point is empty, apart from files of the system and of runs of laco. */
  static boolean isEmptyMount(Path target) throws IOException {
    try (Stream<Path> files = Files.list(target)) {
      return files.allMatch(file -> file.endsWith(LOST_AND_FOUND) || StagedFile.isStaging(file));
    }
  }

  /** The folder into which the files are written before they are complete. */
  Path path() {
    return lock.newFolder();
  }

  /**
   * Gives the complete folder the name of the target.
   *
   * @throws UsageException if files were put into the target meanwhile and it may not be replaced
   * @throws ResourceException if the file system does not rename it
   */
  synchronized void commit() {
    if (done) {
      throw new IllegalStateException("already committed or discarded");
    }
    try {
      OutputFiles.forceNames(path());
      if (inside) {
        moveInside();
      } else if (overwrite && Files.exists(target)) {
        replace();
      } else {
        Files.move(path(), target, StandardCopyOption.ATOMIC_MOVE);
      }
      OutputFiles.forceNames(inside ? target : parent(target));
      finish();
    } catch (IOException e) {
      if (!inside && !overwrite && Files.exists(target)) {
        throw new UsageException(
            target
                + ": came to hold files meanwhile; use "
                + Setting.of("overwrite")
                + " to replace it");
      }
      throw OutputFiles.cannotWrite(target, e);
    }
  }

  /**
   * Gives a file of the folder, which has no other, the name of the target.
   *
   * @param replaceable says which files may be replaced
   * @throws UsageException if the target came to be there meanwhile and may not be replaced
   * @throws ResourceException if the file system does not rename it
   */
  synchronized void commitFile(String name, FileCheck replaceable) {
    if (done) {
      throw new IllegalStateException("already committed or discarded");
    }
    try {
      if (!overwrite && Files.exists(target)) {
        throw new UsageException(
            target
                + ": came to be there meanwhile; use "
                + Setting.of("overwrite")
                + " to replace it");
      }
      if (Files.exists(target)) {
        // Checked again: another file may have got the name meanwhile.
        replaceable.require(target.toString(), target);
      }
      Files.move(path().resolve(name), target, StandardCopyOption.ATOMIC_MOVE);
      OutputFiles.forceNames(parent(target));
      finish();
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(target, e);
    }
  }

  private void moveInside() throws IOException {
    if (!isEmptyMount(target)) {
      throw new UsageException(target + ": came to hold files meanwhile; they are not replaced");
    }
    List<Path> names = new ArrayList<>();
    try (Stream<Path> files = Files.list(path())) {
      files.map(Path::getFileName).sorted().forEach(names::add);
    }
    Path config = Path.of(Checkpoint.CONFIG);
    if (names.remove(config)) {
      names.add(config);
    }
    String list = names.stream().map(Path::toString).collect(Collectors.joining("\n"));
    OutputFiles.write(lock.journal(), list.getBytes(UTF_8));
    OutputFiles.forceNames(target);
    for (Path name : names) {
      Files.move(path().resolve(name), target.resolve(name), StandardCopyOption.ATOMIC_MOVE);
    }
    OutputFiles.forceNames(target);
    Files.delete(lock.journal());
  }

  private void replace() throws IOException {
    // Checked again: files may have been put into the target meanwhile.
    Replaceable.require(target.toString(), target);
    if (!exchange.exchange(path(), target)) {
      // Two steps on file systems that cannot exchange names. If the process dies between them, the
      // next run finds the old folder and renames it back.
      Files.move(target, lock.oldFolder(), StandardCopyOption.ATOMIC_MOVE);
      Files.move(path(), target, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Removes the files that were written, unless {@link #commit} has ended. */
  @Override
  public synchronized void close() {
    if (done) {
      return;
    }
    try {
      lock.rollBack();
      lock.restore(target);
      finish();
      createdParents.reversed().forEach(StagedDirectory::deleteIfEmpty);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(path(), e);
    }
  }

  private void finish() throws IOException {
    done = true;
    lock.removeAll();
  }

  private static Path parent(Path target) {
    return Objects.requireNonNull(target.getParent(), "a root cannot be a target");
  }

  private static void createFolders(Path folder, List<Path> created) throws IOException {
    Deque<Path> missing = new ArrayDeque<>();
    for (Path path = folder; path != null && !Files.isDirectory(path); path = path.getParent()) {
      missing.push(path);
    }
    for (Path path : missing) {
      Files.createDirectory(path);
      created.add(path);
    }
  }

  private static void deleteIfEmpty(Path folder) {
    try {
      Files.delete(folder);
    } catch (IOException e) {
      // Another process uses the folder by now.
    }
  }
}
