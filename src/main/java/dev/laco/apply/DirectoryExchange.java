package dev.laco.apply;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.Errno;
import dev.laco.ffi.NativeName;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Exchanges two names by Linux's renameat2 with RENAME_EXCHANGE, which Java's file API does not
 * offer.
 */
final class DirectoryExchange {
  private static final int AT_FDCWD = -100;
  private static final int RENAME_EXCHANGE = 2;
  private static final int EINVAL = 22;
  private static final int ENOSYS = 38;

  /**
   * {@code int renameat2(int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
   * unsigned int flags)}.
   */
  private static final MethodHandle RENAMEAT2 =
      Downcalls.ofIntAndErrno(JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, JAVA_INT);

  private DirectoryExchange() {}

  /**
   * Exchanges the names of two files or folders in one step.
   *
   * @return false if this system or file system cannot exchange names
   * @throws IOException if the exchange failed for another reason
   */
  static boolean exchange(Path one, Path other) throws IOException {
    MemorySegment renameat2 = CLibrary.function("renameat2");
    int error;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = Errno.allocate(arena);
      MemorySegment from = NativeName.of(one, arena);
      MemorySegment to = NativeName.of(other, arena);
      int status =
          Downcalls.call(
              () ->
                  (int)
                      RENAMEAT2.invokeExact(
                          renameat2, errno, AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE));
      error = status == 0 ? 0 : Errno.of(errno);
    }
    if (error == EINVAL || error == ENOSYS) {
      return false;
    }
    if (error != 0) {
      throw new IOException(
          String.format(
              Locale.ROOT,
              "the names of %s and %s cannot be exchanged: %s",
              one,
              other,
              Errno.message(error)));
    }
    return true;
  }
}
