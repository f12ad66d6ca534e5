package dev.laco.checkpoint;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.function.Predicate;

/**
 * What a mapped file takes of memory: its pages in this process, and those in the system's page
 * cache. All of this is advice that changes no content, so that nothing depends on the system's
 * answers; what a file lost since it was mapped is found by whoever reads it.
 */
final class MappedPages {
  private static final long PAGE = 4096;

  /** Read ahead of the pages that are being mapped: enough to keep a disk busy. */
  private static final long STEP = 8L << 20;

  /** Mapped by one page fault, where the system has not been told otherwise. */
  private static final long FAULT = 64L << 10;

  private static final int MADV_WILLNEED = 3;
  private static final int MADV_DONTNEED = 4;
  private static final int MADV_POPULATE_READ = 22;
  private static final int POSIX_FADV_DONTNEED = 4;
  private static final int O_RDONLY = 0;
  private static final int O_CLOEXEC = 0x80000;

  private static final MethodHandle MADVISE = Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_INT);
  private static final MethodHandle POSIX_FADVISE =
      Downcalls.ofInt(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT);
  private static final MethodHandle OPEN = Downcalls.ofInt(ADDRESS, JAVA_INT);
  private static final MethodHandle CLOSE = Downcalls.ofInt(JAVA_INT);

  private final MemorySegment madvise = CLibrary.function("madvise");
  private final MemorySegment posixFadvise = CLibrary.function("posix_fadvise");
  private final MemorySegment open = CLibrary.function("open");
  private final MemorySegment close = CLibrary.function("close");

  private final MemorySegment bytes;

  /**
   * The same memory as a segment of the class that allocated memory has: a mapped one is of its
   * own, at which the JVM throws away what it has compiled for the others. Valid as long as the
   * mapping.
   */
  private final MemorySegment plain;

  private volatile boolean closing;

  private final Path path;

  /**
   * @param bytes the mapping of the whole file
   */
  MappedPages(Path path, MemorySegment bytes) {
    this.path = path;
    this.bytes = bytes;
    this.plain = MemorySegment.ofAddress(bytes.address()).reinterpret(bytes.byteSize());
  }

  /**
   * Reads a part of the file into memory, from its begin to its end in large pieces, and maps its
   * pages.
   */
  void bringIn(long offset, long size) {
    inPieces(
        offset,
        size,
        piece -> {
          advise(piece.address() - plain.address(), piece.byteSize(), MADV_POPULATE_READ);
          return true;
        });
  }

  /**
   * The same, and looks at what is read. That maps the pages for half of what it costs to ask for
   * it.
   *
   * @param test is given pieces that begin a multiple of 64 KB behind {@code offset}, some of them
   *     twice
   * @return whether all pieces were read and passed
   */
  boolean bringInIf(long offset, long size, Predicate<MemorySegment> test) {
    return inPieces(
        offset,
        size,
        piece -> {
          // The faults first: between them nothing is read at full speed.
          for (long i = 0; i < piece.byteSize(); i += FAULT) {
            if (!test.test(piece.asSlice(i, Math.min(Long.BYTES, piece.byteSize() - i)))) {
              return false;
            }
          }
          return test.test(piece);
        });
  }

  private boolean inPieces(long offset, long size, Predicate<MemorySegment> read) {
    advise(offset, Math.min(size, 2 * STEP), MADV_WILLNEED);
    for (long done = 0; done < size; done += STEP) {
      long ahead = done + 2 * STEP;
      advise(offset + ahead, Math.min(STEP, size - ahead), MADV_WILLNEED);
      if (closing || !read.test(plain.asSlice(offset + done, Math.min(STEP, size - done)))) {
        return false;
      }
    }
    return true;
  }

  /**
   * Takes a part of the file out of this process's memory. Where its first or last page holds
   * something else, too, that is mapped anew when it is read.
   *
   * @param fromCacheToo whether the system shall forget it as well, for files that it could not
   *     keep anyway without forgetting others
   */
  void giveUp(long offset, long size, boolean fromCacheToo) {
    advise(offset, size, MADV_DONTNEED);
    if (fromCacheToo) {
      long begin = offset / PAGE * PAGE;
      long end = Math.ceilDiv(offset + size, PAGE) * PAGE;
      forget(begin, end - begin);
    }
  }

  /** The file is opened for this alone: a model of many files would need two descriptors each. */
  private void forget(long offset, long size) {
    int descriptor;
    try (Arena arena = Arena.ofConfined()) {
      descriptor = open(arena.allocateFrom(path.toString()), O_RDONLY | O_CLOEXEC);
    }
    if (descriptor >= 0) {
      posixFadvise(descriptor, offset, size, POSIX_FADV_DONTNEED);
      close(descriptor);
    }
  }

  /** Begins to end a {@link #bringIn} of another thread. */
  void cancel() {
    closing = true;
  }

  /** A part of the mapping, its begin rounded down to a page. */
  private void advise(long offset, long size, int advice) {
    if (size > 0) {
      long begin = offset / PAGE * PAGE;
      madvise(bytes.asSlice(begin, offset + size - begin), offset + size - begin, advice);
    }
  }

  /** {@code int madvise(void *addr, size_t length, int advice)}. */
  private int madvise(MemorySegment address, long length, int advice) {
    return Downcalls.call(() -> (int) MADVISE.invokeExact(madvise, address, length, advice));
  }

  /** {@code int posix_fadvise(int fd, off_t offset, off_t len, int advice)}. */
  private int posixFadvise(int descriptor, long offset, long length, int advice) {
    return Downcalls.call(
        () -> (int) POSIX_FADVISE.invokeExact(posixFadvise, descriptor, offset, length, advice));
  }

  /** {@code int open(const char *path, int flags)}. */
  private int open(MemorySegment path, int flags) {
    return Downcalls.call(() -> (int) OPEN.invokeExact(open, path, flags));
  }

  /** {@code int close(int fd)}. */
  private int close(int descriptor) {
    return Downcalls.call(() -> (int) CLOSE.invokeExact(close, descriptor));
  }
}
