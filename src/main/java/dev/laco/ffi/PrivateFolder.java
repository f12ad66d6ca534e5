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
 * Folders that no other user of the machine can write to, nor put another folder in the place of.
 * What is loaded as code comes from nowhere else.
 */
public final class PrivateFolder {
  private static final MethodHandle GETEUID = Downcalls.ofInt();

  private static final int OTHERS_WRITE = 022;
  private static final int STICKY = 01000;

  private PrivateFolder() {}

  /**
   * A folder in another one, made if it is missing.
   *
   * @throws IOException if it cannot be made, is a link, or is not the caller's alone
   */
  static Path make(Path parent, String name) throws IOException {
    Path folder = parent.resolve(name);
    try {
      Files.createDirectory(folder, ownerOnly());
    } catch (FileAlreadyExistsException e) {
      // As it should be after the first run.
    }
    require(folder);
    return folder;
  }

  /**
   * A new folder of a name that nobody knows beforehand.
   *
   * @throws IOException if it cannot be made, or others could put their own in its place
   */
  public static Path makeTemporary(Path parent) throws IOException {
    Path folder = Files.createTempDirectory(parent.toRealPath(), "laco-", ownerOnly());
    try {
      require(folder);
    } catch (IOException e) {
      Files.delete(folder);
      throw e;
    }
    return folder;
  }

  /** Whether an entry of a private folder is a regular file that only the caller can write to. */
  static boolean holdsFile(Path file) throws IOException {
    return Files.isRegularFile(file, NOFOLLOW_LINKS)
        && owner(file) == caller()
        && (mode(file) & OTHERS_WRITE) == 0;
  }

  /** A folder whose path holds no links is its owner's alone, and so is every folder around it. */
  private static void require(Path folder) throws IOException {
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
