package dev.laco;

import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Arrays;
import java.util.Locale;

/**
 * Opens and reads files. Only regular files are opened, since a pipe or a device may block or never
 * end. A file that is read whole may have no more bytes than the caller allows. Symbolic links are
 * followed.
 */
public final class InputFile {
  private InputFile() {}

  /**
   * Whether there is a file at a path. A symbolic link to nothing counts, so that reading it says
   * what is missing, as in a folder that was downloaded in part.
   */
  public static boolean isThere(Path path) {
    return Files.exists(path, LinkOption.NOFOLLOW_LINKS);
  }

  /**
   * Checks that a path leads to a regular file.
   *
   * @throws BadInputException if there is no file at the path, or something else than a regular
   *     file
   */
  public static void requireRegular(Path path) {
    BasicFileAttributes found;
    try {
      found = Files.readAttributes(path, BasicFileAttributes.class);
    } catch (NoSuchFileException e) {
      throw new BadInputException(
          path
              + (Files.isSymbolicLink(path)
                  ? ": is a symbolic link to nothing; is the download complete?"
                  : ": no such file"),
          e);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
    if (!found.isRegularFile()) {
      throw new BadInputException(
          path
              + ": is not a regular file but "
              + (found.isDirectory() ? "a folder" : "a pipe, socket or device"));
    }
  }

  /**
   * Opens a regular file.
   *
   * @throws BadInputException if the file is not regular, or cannot be read
   */
  public static FileChannel open(Path path) {
    requireRegular(path);
    try {
      return FileChannel.open(path, StandardOpenOption.READ);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  /**
   * Reads a regular file whole.
   *
   * @param most the most bytes that the file may have
   * @throws BadInputException if the file is not regular, has more bytes, or cannot be read
   */
  public static byte[] read(Path path, int most) {
    try (FileChannel channel = open(path);
        InputStream in = Channels.newInputStream(channel)) {
      long size = channel.size();
      if (size > most) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: is %,d bytes long; of such a file at most %,d are read",
                path,
                size,
                most));
      }
      byte[] bytes = new byte[(int) size];
      int count = in.readNBytes(bytes, 0, bytes.length);
      if (in.read() >= 0) {
        throw new BadInputException(
            path + ": is longer than its size says; copy it to an ordinary file");
      }
      return count == size ? bytes : Arrays.copyOf(bytes, count);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  /**
   * The error for a file that cannot be read.
   *
   * @throws CancelledException if it cannot since the thread was interrupted
   */
  public static BadInputException unreadable(Path path, IOException e) {
    CancelledException.throwIfInterrupted(e);
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: cannot be read: %s %s",
            path,
            e.getClass().getSimpleName(),
            e.getMessage()),
        e);
  }
}
