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
import java.util.stream.Stream;

/**
 * A folder that comes into being in one step, or nearly so where it is a mount point. It is filled
 * under a name of its own beside the target ({@code .laco-<id>.new}) and renamed when it is
 * complete. A lock file beside it ({@code .laco-<id>.lock}), locked as long as the process lives
 * and holding the target's name, tells the folders of running processes from those that dead ones
 * left; the latter are removed by whoever next writes into the same parent.
 *
 * <p>A mount point (a container's volume, a disk of its own) cannot be renamed over. It must be
 * empty and is filled inside: lock and {@code .laco-<id>.new} lie in it, and when all is complete
 * and verified, the files are renamed into it one by one, {@code config.json} last, so that no
 * loader takes half of them for a model. A list of them ({@code .laco-<id>.files}) lies there as
 * long; where a run died meanwhile, the next removes the files in the list.
 *
 * <p>A failed run removes what it wrote, and so does {@link #close} on any thread; a killed one
 * leaves the target as it was.
 */
final class StagedDirectory implements AutoCloseable {
  /** Exchanges two names in one step, or says that it cannot. */
  @FunctionalInterface
  interface Exchange {
    boolean exchange(Path one, Path other) throws IOException;
  }

  /** What the system keeps at the top of a file system of its own. */
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
   * Begins a folder; removes what dead runs left in the same parent.
   *
   * @param target where it will be; see {@link Target#resolve}
   * @param overwrite whether a folder that is there may be replaced
   * @param warnings told of what dead runs seem to have left and is not removed
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
   * As above, on a system that exchanges two names as given.
   *
   * @param inside whether the target is there and must stay, as a mount point
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

  /** Whether a mount point holds nothing but what the system and runs of ours put there. */
  static boolean isEmptyMount(Path target) throws IOException {
    try (Stream<Path> files = Files.list(target)) {
      return files
          .map(file -> file.getFileName().toString())
          .allMatch(name -> name.equals(LOST_AND_FOUND) || name.startsWith(StagingLock.PREFIX));
    }
  }

  /** Where to put the files meanwhile. */
  Path path() {
    return lock.newFolder();
  }

  /**
   * Puts the complete folder in its place.
   *
   * @throws UsageException if the target came to hold files meanwhile and may not be replaced
   * @throws ResourceException if the file system refuses
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

  private void moveInside() throws IOException {
    if (!isEmptyMount(target)) {
      throw new UsageException(target + ": came to hold files meanwhile; they are not replaced");
    }
    List<String> names = new ArrayList<>();
    try (Stream<Path> files = Files.list(path())) {
      files.map(file -> file.getFileName().toString()).sorted().forEach(names::add);
    }
    if (names.remove(Checkpoint.CONFIG)) {
      names.add(Checkpoint.CONFIG);
    }
    OutputFiles.write(lock.journal(), String.join("\n", names).getBytes(UTF_8));
    OutputFiles.forceNames(target);
    for (String name : names) {
      Files.move(path().resolve(name), target.resolve(name), StandardCopyOption.ATOMIC_MOVE);
    }
    OutputFiles.forceNames(target);
    Files.delete(lock.journal());
  }

  private void replace() throws IOException {
    // Once more: files may have come there while this one was filled.
    Replaceable.require(target.toString(), target);
    if (!exchange.exchange(path(), target)) {
      // Two steps where the file system has no better. Should we die between them, the next run
      // finds the old folder and puts it back.
      Files.move(target, lock.oldFolder(), StandardCopyOption.ATOMIC_MOVE);
      Files.move(path(), target, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Removes what was written, unless it was committed. */
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
      // Someone else uses it by now.
    }
  }
}
