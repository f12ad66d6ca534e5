package dev.laco.ffi;

import static java.nio.file.LinkOption.NOFOLLOW_LINKS;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermissions;

/**
 * Makes and checks private folders: folders that no other user can write to, and in the place of
 * which no other user can put another folder. Native libraries are loaded only from such folders.
 */
public final class PrivateFolder {
  private static final MethodHandle GETEUID = Downcalls.ofInt();

  private static final int OTHERS_WRITE = 022;
  private static final int STICKY = 01000;

  private PrivateFolder() {}

  /**
   * The private folder of a name in another folder, which is made if it does not exist.
   *
   * @throws IOException if the folder cannot be made, is a link, or is not private
   */
  static Path make(Path parent, String name) throws IOException {
    Path folder = parent.resolve(name);
    try {
      Files.createDirectory(folder, ownerOnly());
    } catch (FileAlreadyExistsException e) {
      // The folder exists after the first run.
    }
    requireReal(folder);
    return folder;
  }

  /**
   * Makes a private folder of a random name.
   *
   * @throws IOException if the folder cannot be made, or is not private
   */
  public static Path makeTemporary(Path parent) throws IOException {
    Path folder = Files.createTempDirectory(parent.toRealPath(), "laco-", ownerOnly());
    try {
      requireReal(folder);
    } catch (IOException e) {
      Files.delete(folder);
      throw e;
    }
    return folder;
  }

  /**
   * Requires that no other user can write to a folder, nor put another one in its place.
   *
   * @throws IOException that says what is wrong with it
   */
  public static void require(Path folder) throws IOException {
    requireReal(folder.toRealPath());
  }

  /** Whether a path is a regular file, and no link, that only the caller can write to. */
  static boolean holdsFile(Path file) throws IOException {
    return Files.isRegularFile(file, NOFOLLOW_LINKS)
        && owner(file) == caller()
        && (mode(file) & OTHERS_WRITE) == 0;
  }

  /**
   * Checks a folder whose path has no links: only the caller can write to it, and only the caller
   * or the system can rename the folders of its path.
   */
  private static void requireReal(Path folder) throws IOException {
    if (!Files.isDirectory(folder, NOFOLLOW_LINKS)) {
      throw new FileSystemException(folder.toString(), null, "is no folder");
    }
    if (owner(folder) != caller()) {
      throw new FileSystemException(folder.toString(), null, "belongs to another user");
    }
    if ((mode(folder) & OTHERS_WRITE) != 0) {
      throw new FileSystemException(folder.toString(), null, "others can write to it");
    }
    int system = owner(folder.getRoot());
    for (Path above = folder.getParent(); above != null; above = above.getParent()) {
      if (owner(above) != caller() && owner(above) != system) {
        throw new FileSystemException(above.toString(), null, "belongs to another user");
      }
      if ((mode(above) & OTHERS_WRITE) != 0 && (mode(above) & STICKY) == 0) {
        throw new FileSystemException(
            above.toString(), null, "others can rename what lies in it (it is not sticky)");
      }
    }
  }

  private static FileAttribute<?> ownerOnly() {
    return PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
  }

  private static int owner(Path path) throws IOException {
    return (int) Files.getAttribute(path, "unix:uid", NOFOLLOW_LINKS);
  }

  private static int mode(Path path) throws IOException {
    return (int) Files.getAttribute(path, "unix:mode", NOFOLLOW_LINKS);
  }

  /** {@code uid_t geteuid(void)}. */
  private static int caller() {
    MemorySegment function = CLibrary.function("geteuid");
    return Downcalls.call(() -> (int) GETEUID.invokeExact(function));
  }
}
