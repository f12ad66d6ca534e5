package dev.laco.apply;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Linux's renameat2 with RENAME_EXCHANGE, which Java's file API does not offer. */
final class DirectoryExchange {
  private static final int AT_FDCWD = -100;
  private static final int RENAME_EXCHANGE = 2;
  private static final int EINVAL = 22;
  private static final int ENOSYS = 38;

  private static final StructLayout ERRNO = Linker.Option.captureStateLayout();
  private static final VarHandle ERRNO_VALUE =
      ERRNO.varHandle(MemoryLayout.PathElement.groupElement("errno"));

  /**
   * {@code int renameat2(int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
   * unsigned int flags)}, glibc 2.28 and later.
   */
  private static final @Nullable MethodHandle RENAMEAT2 =
      Linker.nativeLinker()
          .defaultLookup()
          .find("renameat2")
          .map(
              address ->
                  Linker.nativeLinker()
                      .downcallHandle(
                          address,
                          FunctionDescriptor.of(
                              ValueLayout.JAVA_INT,
                              ValueLayout.JAVA_INT,
                              ValueLayout.ADDRESS,
                              ValueLayout.JAVA_INT,
                              ValueLayout.ADDRESS,
                              ValueLayout.JAVA_INT),
                          Linker.Option.captureCallState("errno")))
          .orElse(null);

  private DirectoryExchange() {}

  /**
   * Exchanges the names of two files or folders in one step.
   *
   * @return false if this system or file system cannot
   * @throws IOException if it can, but failed
   */
  static boolean exchange(Path one, Path other) throws IOException {
    if (RENAMEAT2 == null) {
      return false;
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment state = arena.allocate(ERRNO);
      MemorySegment from = arena.allocateFrom(one.toString());
      MemorySegment to = arena.allocateFrom(other.toString());
      int status;
      try {
        status = (int) RENAMEAT2.invokeExact(state, AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
      } catch (Throwable e) {
        throw new AssertionError(e);
      }
      if (status == 0) {
        return true;
      }
      int errno = (int) ERRNO_VALUE.get(state, 0L);
      if (errno == EINVAL || errno == ENOSYS) {
        return false;
      }
      throw new IOException(
          "renameat2(%s, %s, RENAME_EXCHANGE) failed with errno %d".formatted(one, other, errno));
    }
  }
}
