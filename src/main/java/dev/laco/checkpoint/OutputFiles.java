package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.DiskRoom;
import dev.laco.InputFile;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Locale;
import java.util.Objects;
import java.util.regex.Pattern;

/** Writes files, and forces them to the disk before anything relies on them. */
public final class OutputFiles {
  private static final Pattern TRIAL = Pattern.compile("\\.laco-[0-9]+\\.tmp");

  private OutputFiles() {}

  /**
   * Writes a file, which must not exist, and forces it to the disk.
   *
   * @throws ResourceException if the disk is full or cannot be written
   */
  public static void write(Path file, byte[] bytes) {
    try (FileChannel channel = create(file)) {
      ByteBuffer buffer = ByteBuffer.wrap(bytes);
      while (buffer.hasRemaining()) {
        channel.write(buffer);
      }
      channel.force(true);
    } catch (IOException e) {
      throw cannotWrite(file, e);
    }
  }

  /**
   * Copies a file, to one that must not exist, and forces it to the disk.
   *
   * @param source must not be a symbolic link, so that a link that another process puts in its
   *     place is not followed
   * @throws BadInputException if the source cannot be read
   * @throws ResourceException if the disk is full or cannot be written
   */
  public static void copy(Path source, Path file) {
    InputFile.requireRegular(source);
    try (FileChannel from = open(source);
        FileChannel to = create(file)) {
      transfer(source, from, 0, from.size(), to);
      to.force(true);
    } catch (IOException e) {
      throw cannotWrite(file, e);
    }
  }

  /**
   * Copies bytes from one open file to the position of another, without the heap.
   *
   * @param sourcePath names the source in errors
   * @param offset first byte in the source
   * @param count number of bytes
   * @throws BadInputException if the source ends early
   * @throws IOException if the target cannot be written
   */
  static void transfer(
      Path sourcePath, FileChannel source, long offset, long count, FileChannel target)
      throws IOException {
    long done = 0;
    while (done < count) {
      long moved = source.transferTo(offset + done, count - done, target);
      if (moved <= 0) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: ends before byte %d; it was truncated while in use",
                sourcePath,
                offset + count));
      }
      done += moved;
    }
  }

  private static FileChannel open(Path source) {
    try {
      return FileChannel.open(source, StandardOpenOption.READ, LinkOption.NOFOLLOW_LINKS);
    } catch (IOException e) {
      throw InputFile.unreadable(source, e);
    }
  }

  /** Forces the entries of a folder, and so the names of its files, to the disk. */
  public static void forceNames(Path folder) throws IOException {
    try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  /** Creates a file, which must not exist, for writing. */
  public static FileChannel create(Path file) throws IOException {
    return FileChannel.open(file, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW);
  }

  /**
   * The real path of a file that need not exist: the real path of the deepest folder that exists,
   * followed by the other names. As for the system, {@code ..} behind a link is the folder around
   * that to which the link leads.
   */
  public static Path realPath(Path path) throws IOException {
    Path absolute = path.toAbsolutePath();
    if (Files.exists(absolute, LinkOption.NOFOLLOW_LINKS) || absolute.getParent() == null) {
      return absolute.toRealPath();
    }
    return realPath(absolute.getParent()).resolve(absolute.getFileName()).normalize();
  }

  /**
   * Checks that a file or folder can be made at a path, before work is done for it. The check makes
   * a file in the deepest folder of the path that exists, and removes that file.
   *
   * @param name as the user gave it, for messages
   * @param path the real path, not a root
   * @throws UsageException if a file stands in the place of the folder
   * @throws ResourceException if the folder cannot be written
   */
  public static void requireWritable(String name, Path path) {
    Path folder = path;
    do {
      folder = Objects.requireNonNull(folder.getParent(), "a root always exists");
    } while (!Files.exists(folder));
    if (!Files.isDirectory(folder)) {
      throw new UsageException(String.format(Locale.ROOT, "%s: %s is not a folder", name, folder));
    }
    // Permission bits do not tell: they do not bind root, and a file system may be read-only.
    try {
      // Another run may remove the file as one that a run that died has left.
      Files.deleteIfExists(Files.createTempFile(folder, ".laco-", ".tmp"));
    } catch (IOException e) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s: no file can be made in %s (%s); choose another place",
              name,
              folder,
              e.getClass().getSimpleName()),
          e);
    }
  }

  /**
   * Whether a file has the name of those by which {@link #requireWritable} tries a folder. A
   * process that is killed in between leaves one, which is empty.
   */
  public static boolean isTrial(Path file) {
    return TRIAL.matcher(file.getFileName().toString()).matches();
  }

  private static String reason(IOException e) {
    return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
  }

  /**
   * The error for a file that cannot be written, with the free space of its file system.
   *
   * @throws dev.laco.CancelledException if it cannot since the thread was interrupted
   */
  public static ResourceException cannotWrite(Path file, IOException e) {
    CancelledException.throwIfInterrupted(e);
    return new ResourceException(
        String.format(
            Locale.ROOT,
            "%s: cannot be written: %s; free space there: %d bytes",
            file,
            reason(e),
            DiskRoom.freeBytes(file.toAbsolutePath().resolveSibling(""))),
        e);
  }
}
