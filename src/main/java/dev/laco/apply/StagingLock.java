package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.HexFormat;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * The lock file of a {@link StagedDirectory}: {@code .laco-<id>.lock}, holding the target's name.
 * The system releases the lock when the process ends, however it ends; {@link StaleLocks} cleans up
 * then.
 */
final class StagingLock {
  /** What names of ours begin with. */
  static final String PREFIX = ".laco-";

  private static final String SUFFIX = ".lock";

  /** No file system has longer names. */
  private static final int MOST_BYTES = 1024;

  private static final int ATTEMPTS = 100;

  /**
   * Locks of this process. To open and close a locked file a second time would release its lock
   * (POSIX), so these are left alone.
   */
  private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

  private final Path file;
  private final FileChannel channel;

  private StagingLock(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /**
   * Locks a new file.
   *
   * @param folder where
   * @param name of the target in that folder, empty where the folder is the target itself
   */
  static StagingLock create(Path folder, String name) throws IOException {
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      String id = HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
      Path file = folder.resolve(PREFIX + id + SUFFIX);
      StagingLock lock = tryTake(file, StandardOpenOption.CREATE_NEW);
      // Null where a run that cleans up took it for a dead one's in the instant before.
      if (lock != null) {
        try {
          lock.channel.write(ByteBuffer.wrap(name.getBytes(UTF_8)));
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
   * Locks a file that is there, not what a symbolic link leads to.
   *
   * @return null if a process holds it
   */
  static @Nullable StagingLock tryTake(Path file) throws IOException {
    return tryTake(file, LinkOption.NOFOLLOW_LINKS);
  }

  private static @Nullable StagingLock tryTake(Path file, OpenOption how) throws IOException {
    if (!HELD.add(file)) {
      return null;
    }
    FileChannel channel;
    try {
      // Open for reading and writing, a pipe in the place of the file does not block.
      channel = FileChannel.open(file, how, StandardOpenOption.READ, StandardOpenOption.WRITE);
    } catch (IOException e) {
      HELD.remove(file);
      throw e;
    }
    StagingLock lock = new StagingLock(file, channel);
    try {
      // Whoever held it before may have deleted it by now; a lock on a file without a name is none.
      if (channel.tryLock() != null && Files.exists(file, LinkOption.NOFOLLOW_LINKS)) {
        return lock;
      }
      lock.release();
      return null;
    } catch (IOException | RuntimeException e) {
      lock.release();
      throw e;
    }
  }

  /** The lock file. */
  Path file() {
    return file;
  }

  /** What the file holds, at most so much as a name can have and one byte more. */
  ByteBuffer contents() throws IOException {
    ByteBuffer contents = ByteBuffer.allocate(MOST_BYTES + 1);
    while (contents.hasRemaining() && channel.read(contents, contents.position()) >= 0) {}
    return contents.flip();
  }

  /** The folder that is being filled. */
  Path newFolder() {
    return sibling(".new");
  }

  /** Where a target waits that could not be exchanged in one step. */
  Path oldFolder() {
    return sibling(".old");
  }

  /**
   * What is about to be moved to its place beside the lock, a name a line. While it is there, these
   * files are not complete, and whoever cleans up removes them.
   */
  Path journal() {
    return sibling(".files");
  }

  private Path sibling(String suffix) {
    String name = file.getFileName().toString();
    return file.resolveSibling(name.substring(0, name.length() - SUFFIX.length()) + suffix);
  }

  /** Puts the old target back if no new one took its place. */
  void restore(Path target) throws IOException {
    if (Files.exists(oldFolder(), LinkOption.NOFOLLOW_LINKS)
        && !Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
      Files.move(oldFolder(), target, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Takes back what was moved to its place, if not all of it was. */
  void rollBack() throws IOException {
    if (Files.exists(journal(), LinkOption.NOFOLLOW_LINKS)) {
      for (String name : Files.readAllLines(journal())) {
        Path moved = file.resolveSibling(name);
        if (Files.isRegularFile(moved, LinkOption.NOFOLLOW_LINKS)) {
          Files.delete(moved);
        }
      }
      Files.delete(journal());
    }
  }

  /** Deletes both folders and then the lock. */
  void removeAll() throws IOException {
    Deletion.tree(newFolder());
    Deletion.tree(oldFolder());
    Files.deleteIfExists(file);
    release();
  }

  /** Lets go of the file. */
  void release() throws IOException {
    channel.close();
    HELD.remove(file);
  }
}
