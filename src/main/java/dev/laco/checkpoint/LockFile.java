package dev.laco.checkpoint;

import dev.laco.ResourceException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A file that this process has locked. The system releases the lock when the process ends, however
 * it ends.
 */
public final class LockFile {
  /**
   * The files that this process holds. Opening and closing one of them a second time would release
   * its lock (POSIX), so they are never opened again.
   */
  private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

  private final Path file;
  private final FileChannel channel;

  private LockFile(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /**
   * Locks a file.
   *
   * @param file always by the same path
   * @param how the file is opened: options of links and of creation
   * @return null if a process holds the lock
   * @throws IOException if the file cannot be opened, or its file system has no locks; a file that
   *     this call has made is gone then
   */
  public static @Nullable LockFile tryTake(Path file, OpenOption... how) throws IOException {
    if (!HELD.add(file)) {
      return null;
    }
    Set<OpenOption> options = new HashSet<>(List.of(how));
    // Opening a pipe for reading and writing does not block, should one be in the place of the
    // file.
    options.add(StandardOpenOption.READ);
    options.add(StandardOpenOption.WRITE);
    FileChannel channel;
    try {
      channel = FileChannel.open(file, options);
    } catch (IOException e) {
      HELD.remove(file);
      throw e;
    }
    LockFile lock = new LockFile(file, channel);
    try {
      // The former holder may have deleted the file by now, and a lock on a deleted file protects
      // nothing.
      if (channel.tryLock() != null && Files.exists(file, LinkOption.NOFOLLOW_LINKS)) {
        return lock;
      }
      lock.release();
      return null;
    } catch (IOException | RuntimeException e) {
      if (options.contains(StandardOpenOption.CREATE_NEW)) {
        Files.deleteIfExists(file);
      }
      lock.release();
      throw e;
    }
  }

  /**
   * Keeps other jobs from a folder, until {@link #delete}.
   *
   * @param folder is made if it is not there
   * @param name of the file that is locked in it
   * @param taken says of a folder that is locked by whom, and what to do
   * @throws ResourceException if another job has locked the folder, or it cannot be made
   */
  public static LockFile ofFolder(Path folder, String name, String taken) {
    try {
      Files.createDirectories(folder);
      Path file = folder.toRealPath().resolve(name);
      LockFile lock = tryTake(file, StandardOpenOption.CREATE, LinkOption.NOFOLLOW_LINKS);
      if (lock == null) {
        throw new ResourceException(folder + ": " + taken);
      }
      return lock;
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }

  /**
   * Releases the lock and deletes the file, and its folder where nothing else is in it.
   *
   * @throws ResourceException if they cannot be deleted
   */
  public void delete() {
    Path folder = file.resolveSibling("");
    try {
      Files.deleteIfExists(file);
      release();
      try (Stream<Path> left = Files.list(folder)) {
        if (left.findAny().isPresent()) {
          return;
        }
      }
      Files.delete(folder);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }

  /** The file. */
  public Path file() {
    return file;
  }

  /** Reads and writes the file. */
  public FileChannel channel() {
    return channel;
  }

  /** Releases the lock; the file stays. */
  public void release() throws IOException {
    channel.close();
    HELD.remove(file);
  }
}
