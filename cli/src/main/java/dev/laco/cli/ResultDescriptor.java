package dev.laco.cli;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.Errno;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * A file descriptor for results alone. When the Java runtime crashes it writes a report to
 * descriptor 1, whatever its options say. So standard output moves to a descriptor that only this
 * class knows, and descriptor 1 leads to standard error from then on.
 */
final class ResultDescriptor extends OutputStream {
  private static final int STANDARD_OUTPUT = 1;
  private static final int STANDARD_ERROR = 2;
  private static final int EINTR = 4;
  private static final int EBADF = 9;

  /** {@code int dup(int fd)}. */
  private static final MethodHandle DUP = Downcalls.ofInt(JAVA_INT);

  /** {@code int dup2(int fd, int as)}. */
  private static final MethodHandle DUP2 = Downcalls.ofInt(JAVA_INT, JAVA_INT);

  /** {@code ssize_t write(int fd, const void *bytes, size_t count)}. */
  private static final MethodHandle WRITE = Downcalls.ofLongAndErrno(JAVA_INT, ADDRESS, JAVA_LONG);

  private final MemorySegment write = CLibrary.function("write");
  private final int number;

  private ResultDescriptor(int number) {
    this.number = number;
  }

  /** Standard output, on a descriptor of its own unless this process was started without any. */
  static OutputStream claim() {
    MemorySegment dup = CLibrary.function("dup");
    MemorySegment dup2 = CLibrary.function("dup2");
    try {
      ResultDescriptor own = new ResultDescriptor((int) DUP.invokeExact(dup, STANDARD_OUTPUT));
      // Where there is none, descriptor 1 may be a file that the Java runtime reads.
      return own.isWritable()
              && (int) DUP2.invokeExact(dup2, STANDARD_ERROR, STANDARD_OUTPUT) == STANDARD_OUTPUT
          ? own
          : new FileOutputStream(FileDescriptor.out);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** A full disk is writable here, too: it says so when there is something to write. */
  private boolean isWritable() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = Errno.allocate(arena);
      return write(errno, MemorySegment.NULL) == 0 || Errno.of(errno) != EBADF;
    }
  }

  private long write(MemorySegment errno, MemorySegment bytes) {
    try {
      return (long) WRITE.invokeExact(write, errno, number, bytes, bytes.byteSize());
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  @Override
  public void write(int value) throws IOException {
    write(new byte[] {(byte) value}, 0, 1);
  }

  @Override
  public void write(byte[] bytes, int from, int length) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment errno = Errno.allocate(arena);
      MemorySegment rest =
          arena.allocateFrom(JAVA_BYTE, MemorySegment.ofArray(bytes), JAVA_BYTE, from, length);
      while (rest.byteSize() > 0) {
        long written = write(errno, rest);
        if (written >= 0) {
          rest = rest.asSlice(written);
        } else if (Errno.of(errno) != EINTR) {
          throw new IOException(Errno.message(Errno.of(errno)));
        }
      }
    }
  }
}
