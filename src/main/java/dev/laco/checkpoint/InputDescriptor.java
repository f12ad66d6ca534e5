package dev.laco.checkpoint;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.Errno;
import dev.laco.ffi.NativeName;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A file that stays open for reading until {@link #close}. Java closes a {@link FileChannel} when a
 * thread that uses the channel is interrupted, which would take the file from all other threads,
 * too. Therefore the C library opens the file, and each use has a channel of its own.
 */
final class InputDescriptor implements AutoCloseable {
  private static final Path OPEN_FILES = Path.of("/proc/self/fd");
  private static final int O_RDONLY = 0;
  private static final int O_CLOEXEC = 0x80000;
  private static final int SEEK_END = 2;
  private static final int POSIX_FADV_DONTNEED = 4;

  /** {@code int open(const char *path, int flags)}. */
  private static final MethodHandle OPEN = Downcalls.ofIntAndErrno(ADDRESS, JAVA_INT);

  /** {@code off_t lseek(int fd, off_t offset, int whence)}. */
  private static final MethodHandle LSEEK = Downcalls.ofLong(JAVA_INT, JAVA_LONG, JAVA_INT);

  /** {@code int posix_fadvise(int fd, off_t offset, off_t len, int advice)}. */
  private static final MethodHandle POSIX_FADVISE =
      Downcalls.ofInt(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT);

  /** {@code int close(int fd)}. */
  private static final MethodHandle CLOSE = Downcalls.ofInt(JAVA_INT);

  private final MemorySegment lseek = CLibrary.function("lseek");
  private final MemorySegment posixFadvise = CLibrary.function("posix_fadvise");
  private final MemorySegment close = CLibrary.function("close");

  private final Path path;

  /** Negative when closed, since the system gives the number of a closed file to another file. */
  private volatile int descriptor;

  private InputDescriptor(Path path, int descriptor) {
    this.path = path;
    this.descriptor = descriptor;
  }

  /**
   * Opens a regular file; symbolic links are followed.
   *
   * @throws BadInputException if the file is not regular, or cannot be read
   */
  static InputDescriptor open(Path path) {
    InputFile.requireRegular(path);
    MemorySegment open = CLibrary.function("open");
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = Errno.allocate(arena);
      MemorySegment name = NativeName.of(path, arena);
      int descriptor =
          Downcalls.call(() -> (int) OPEN.invokeExact(open, errno, name, O_RDONLY | O_CLOEXEC));
      if (descriptor < 0) {
        throw InputFile.unreadable(path, new IOException(Errno.message(Errno.of(errno))));
      }
      return new InputDescriptor(path, descriptor);
    }
  }

  /** Bytes of the file now; negative where the system does not tell. */
  long size() {
    int open = descriptor;
    return Downcalls.call(() -> (long) LSEEK.invokeExact(lseek, open, 0L, SEEK_END));
  }

  /**
   * A channel of this very file, even where another file has its path by now; where no {@code
   * /proc} is mounted, a channel of the file that has the path.
   */
  FileChannel channel() throws IOException {
    Path open = OPEN_FILES.resolve(Integer.toString(descriptor));
    return FileChannel.open(Files.exists(OPEN_FILES) ? open : path, StandardOpenOption.READ);
  }

  /** Asks the page cache to forget a part of the file, in whole pages. */
  void forget(long offset, long size) {
    long begin = offset / MappedPages.PAGE * MappedPages.PAGE;
    long end = Math.ceilDiv(offset + size, MappedPages.PAGE) * MappedPages.PAGE;
    int open = descriptor;
    // Advice, which changes no content; no result is looked at.
    Downcalls.call(
        () ->
            (int)
                POSIX_FADVISE.invokeExact(
                    posixFadvise, open, begin, end - begin, POSIX_FADV_DONTNEED));
  }

  @Override
  public void close() {
    int open = descriptor;
    descriptor = -1;
    Downcalls.call(() -> (int) CLOSE.invokeExact(close, open));
  }
}
