package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.ResourceException;
import dev.laco.checkpoint.LockFile;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * The lock file of a {@link StagedDirectory}: {@code .laco-<id>.lock}, holding the target's name.
 * The system releases the lock when the process ends, however it ends; {@link StaleLocks} then
 * removes the files that the process left.
 */
final class StagingLock {
  /** The begin of the names of all files and folders of staging. */
  static final String PREFIX = ".laco-";

  private static final String SUFFIX = ".lock";

  /** Most bytes of a file's name: no file system has longer ones. */
  private static final int MOST_BYTES = 1024;

  private static final int ATTEMPTS = 100;

  private final LockFile lock;

  private StagingLock(LockFile lock) {
    this.lock = lock;
  }

  /**
   * Checks that a lock file can be made and locked, before work is done for what will be staged
   * there: some file systems of clusters, and of user space, have no locks.
   *
   * @param name what errors call the target
   * @param folder the real path of the folder of the lock file, which need not exist
   * @throws dev.laco.UsageException if a file stands in the place of the folder
   * @throws ResourceException if the folder cannot be written, or its file system has no locks
   */
  static void requirePossible(String name, Path folder) {
    OutputFiles.requireWritable(name, folder.resolve("x"));
    Path existing = folder;
    while (!Files.isDirectory(existing)) {
      existing = Objects.requireNonNull(existing.getParent(), "a root is a folder");
    }
    try {
      create(existing, "").removeAll();
    } catch (IOException e) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s: no file can be locked in %s (%s); choose a folder of another file system, or mount this one with locks",
              name,
              existing,
              e.getMessage()),
          e);
    }
  }

  /**
   * Makes a lock file and locks it.
   *
   * @param folder the folder of the lock file
   * @param name the target's name in that folder; empty where the folder is the target itself
   */
  static StagingLock create(Path folder, String name) throws IOException {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      String id = HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
      Path file = folder.resolve(PREFIX + id + SUFFIX);
      StagingLock lock = tryTake(file, StandardOpenOption.CREATE_NEW);
      // Null if another run took the new file for one of a run that died, before it was locked.
      if (lock != null) {
        try {
          lock.lock.channel().write(ByteBuffer.wrap(name.getBytes(UTF_8)));
          return lock;
        } catch (IOException e) {
          lock.removeAll();
          throw e;
        }
      }
    }
    throw new IOException("a file that is made there cannot be locked");
  }

  /**
   * Locks an existing lock file. Symbolic links are not followed.
   *
   * @return null if a process holds the lock
   */
  static @Nullable StagingLock tryTake(Path file) throws IOException {
    return tryTake(file, LinkOption.NOFOLLOW_LINKS);
  }

  private static @Nullable StagingLock tryTake(Path file, OpenOption how) throws IOException {
    LockFile lock = LockFile.tryTake(file, how);
    return lock == null ? null : new StagingLock(lock);
  }

  /** The lock file. */
  Path file() {
    return lock.file();
  }

  /** The content of the file, at most one byte more than the longest name has. */
  ByteBuffer contents() throws IOException {
    ByteBuffer contents = ByteBuffer.allocate(MOST_BYTES + 1);
    while (contents.hasRemaining() && lock.channel().read(contents, contents.position()) >= 0) {}
    return contents.flip();
  }

  /** The folder that is being filled. */
  Path newFolder() {
    return sibling(".new");
  }

  /**
   * The name of the old target while it is replaced on a file system that cannot exchange names.
   */
  Path oldFolder() {
    return sibling(".old");
  }

  /**
   * The list of the files that are being renamed into the lock's folder, a name a line. While the
   * list exists, the files are not complete, and a later run removes them.
   */
  Path journal() {
    return sibling(".files");
  }

  private Path sibling(String suffix) {
    String name = file().getFileName().toString();
    return file().resolveSibling(name.substring(0, name.length() - SUFFIX.length()) + suffix);
  }

  /** Gives the old target its name back, unless a new one has the name. */
  void restore(Path target) throws IOException {
    if (Files.exists(oldFolder(), LinkOption.NOFOLLOW_LINKS)
        && !Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
      Files.move(oldFolder(), target, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Deletes the files in the list, and the list, if there is one. */
  void rollBack() throws IOException {
    if (Files.exists(journal(), LinkOption.NOFOLLOW_LINKS)) {
      for (String name : Files.readAllLines(journal())) {
        Path moved = listed(name);
        if (Files.isRegularFile(moved, LinkOption.NOFOLLOW_LINKS)) {
          Files.delete(moved);
        } else if (name.equals(CompanionFiles.TEMPLATES)) {
          Deletion.tree(moved);
        }
      }
      Files.delete(journal());
    }
  }

  /**
   * A file of the list.
   *
   * @throws IOException if its name is no text in the process's locale
   */
  Path listed(String name) throws IOException {
    try {
      return file().resolveSibling(name);
    } catch (InvalidPathException e) {
      throw new IOException("a name in the list of its files cannot be read in this locale", e);
    }
  }

  /** Deletes the new and the old folder, and then the lock file. */
  void removeAll() throws IOException {
    Deletion.tree(newFolder());
    Deletion.tree(oldFolder());
    Files.deleteIfExists(file());
    release();
  }

  /** Releases the lock; the file stays. */
  void release() throws IOException {
    lock.release();
  }
}
