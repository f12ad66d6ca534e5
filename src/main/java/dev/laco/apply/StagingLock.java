package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The lock file of a {@link StagedDirectory}: {@code .laco-<id>.lock}, holding the target's name.
 * The system releases the lock when the process ends, however it ends.
 */
final class StagingLock {
  private static final String PREFIX = ".laco-";
  private static final String SUFFIX = ".lock";
  private static final int DELETE_ATTEMPTS = 200;

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

  /** Locks a new file beside the target. */
  static StagingLock create(Path target) throws IOException {
    while (true) {
      String id = HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
      Path file = target.resolveSibling(PREFIX + id + SUFFIX);
      StagingLock lock = tryTake(file, StandardOpenOption.CREATE_NEW);
      // Null where a run that cleans up took it for a dead one's in the instant before.
      if (lock != null) {
        try {
          byte[] name = target.getFileName().toString().getBytes(UTF_8);
          lock.channel.write(ByteBuffer.wrap(name));
          return lock;
        } catch (IOException e) {
          lock.removeAll();
          throw e;
        }
      }
    }
  }

  private static @Nullable StagingLock tryTake(Path file, StandardOpenOption creation)
      throws IOException {
    if (!HELD.add(file)) {
      return null;
    }
    FileChannel channel;
    try {
      channel = FileChannel.open(file, creation, StandardOpenOption.READ, StandardOpenOption.WRITE);
    } catch (IOException e) {
      HELD.remove(file);
      if (e instanceof NoSuchFileException) {
        return null;
      }
      throw e;
    }
    // Whoever held it before may have deleted it by now; a lock on a file without a name is none.
    if (channel.tryLock() == null || !Files.exists(file)) {
      channel.close();
      HELD.remove(file);
      return null;
    }
    return new StagingLock(file, channel);
  }

  /** Removes what dead runs left in a folder; puts back a target that one had moved away. */
  static void removeStale(Path parent) throws IOException {
    List<Path> files;
    try (Stream<Path> all = Files.list(parent)) {
      files = all.filter(StagingLock::isLockFile).toList();
    }
    for (Path file : files) {
      StagingLock lock = tryTake(file, StandardOpenOption.WRITE);
      if (lock != null) {
        ByteBuffer name = ByteBuffer.allocate((int) Math.min(lock.channel.size(), 4096));
        lock.channel.read(name);
        if (name.position() > 0) {
          lock.restore(parent.resolve(UTF_8.decode(name.flip()).toString()));
        }
        lock.removeAll();
      }
    }
  }

  private static boolean isLockFile(Path file) {
    String name = file.getFileName().toString();
    return name.startsWith(PREFIX) && name.endsWith(SUFFIX);
  }

  /** The folder that is being filled. */
  Path newFolder() {
    return sibling(".new");
  }

  /** Where a target waits that could not be exchanged in one step. */
  Path oldFolder() {
    return sibling(".old");
  }

  private Path sibling(String suffix) {
    String name = file.getFileName().toString();
    return file.resolveSibling(name.substring(0, name.length() - SUFFIX.length()) + suffix);
  }

  /** Puts the old target back if no new one took its place. */
  void restore(Path target) throws IOException {
    if (Files.exists(oldFolder()) && !Files.exists(target)) {
      Files.move(oldFolder(), target, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Deletes both folders and then the lock. */
  void removeAll() throws IOException {
    deleteTree(newFolder());
    deleteTree(oldFolder());
    Files.deleteIfExists(file);
    channel.close();
    HELD.remove(file);
  }

  /** Symbolic links are removed, not followed. A thread that still writes there is outrun. */
  private static void deleteTree(Path root) throws IOException {
    for (int attempt = 1; Files.exists(root, LinkOption.NOFOLLOW_LINKS); attempt++) {
      try {
        Files.walkFileTree(root, new Deletion());
      } catch (DirectoryNotEmptyException e) {
        if (attempt == DELETE_ATTEMPTS) {
          throw e;
        }
      }
    }
  }

  private static final class Deletion extends SimpleFileVisitor<Path> {
    @Override
    public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
      Files.delete(file);
      return FileVisitResult.CONTINUE;
    }

    @Override
    public FileVisitResult postVisitDirectory(Path folder, @Nullable IOException failure)
        throws IOException {
      if (failure != null) {
        throw failure;
      }
      Files.delete(folder);
      return FileVisitResult.CONTINUE;
    }
  }
}
