package dev.laco.checkpoint;

import dev.laco.BadInputException;
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

/** Writing files so that they are on the disk before anything relies on them. */
public final class OutputFiles {
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
   * @param source no symbolic link, so that none put in its place meanwhile is followed
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
   * Copies bytes from one open file to another at its position, without the heap.
   *
   * @param sourcePath names the source in errors
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

  /** Forces the names in a folder to the disk. */
  public static void forceNames(Path folder) throws IOException {
    try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  static FileChannel create(Path file) throws IOException {
    return FileChannel.open(file, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW);
  }

  /** The real path of what exists, and behind it the names of what does not yet. */
  public static Path realPath(Path path) throws IOException {
    Path absolute = path.toAbsolutePath().normalize();
    if (Files.exists(absolute, LinkOption.NOFOLLOW_LINKS) || absolute.getParent() == null) {
      return absolute.toRealPath();
    }
    return realPath(absolute.getParent()).resolve(absolute.getFileName());
  }

  /**
   * Checks that something can be created under a name, before work is done for it: makes a file in
   * its folder, or in the first one above that is there, and removes it.
   *
   * @param name as the user gave it, for messages
   * @param path its real path, not a root
   * @throws UsageException if what should be its folder is none
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
    // Mode bits say little: root may, and a read-only or a made-up file system may not.
    try {
      Files.delete(Files.createTempFile(folder, ".laco-", ".tmp"));
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

  private static String reason(IOException e) {
    return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
  }

  /** The error for a file that cannot be written; says how much space its file system has. */
  public static ResourceException cannotWrite(Path file, IOException e) {
    return new ResourceException(
        String.format(
            Locale.ROOT,
            "%s: cannot be written: %s; free space there: %d bytes",
            file,
            reason(e),
            freeBytes(file.toAbsolutePath().resolveSibling(""))),
        e);
  }

  /**
   * Bytes that may still be written in a folder. Not from {@code FileStore}, which looks for the
   * folder's mount point and finds none in a chroot.
   */
  public static long freeBytes(Path folder) {
    return folder.toFile().getUsableSpace();
  }
}
