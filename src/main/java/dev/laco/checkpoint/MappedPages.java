package dev.laco.checkpoint;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.function.Predicate;

/**
 * Controls the memory that the pages of a mapped file take in this process. Every call here is
 * advice to the system, which changes no content; therefore no result of a call is looked at.
 * Readers of the mapping find out whether the file was cut short since it was mapped.
 */
final class MappedPages {
  /** Bytes of a page. */
  static final long PAGE = 4096;

  /**
   * Bytes of a piece. Two pieces are read ahead of the piece whose pages are being mapped, enough
   * to keep a disk busy.
   */
  private static final long STEP = 8L << 20;

  /** Bytes that Linux maps by one page fault by default. */
  private static final long FAULT = 64L << 10;

  private static final int MADV_WILLNEED = 3;
  private static final int MADV_DONTNEED = 4;
  private static final int MADV_POPULATE_READ = 22;

  private static final MethodHandle MADVISE = Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_INT);

  private final MemorySegment madvise = CLibrary.function("madvise");

  private final MemorySegment bytes;

  /**
   * The memory of the mapping as a segment of the class that segments of allocated memory have. A
   * mapped segment has a class of its own, and code that the JVM compiled for the other class would
   * be compiled again for both. Valid as long as the mapping.
   */
  private final MemorySegment plain;

  private volatile boolean closing;

  /**
   * @param bytes the mapping of the whole file
   */
  MappedPages(MemorySegment bytes) {
    this.bytes = bytes;
    this.plain = MemorySegment.ofAddress(bytes.address()).reinterpret(bytes.byteSize());
  }

  /**
   * Reads a part of the file into memory, in large pieces from its begin to its end, and maps its
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
   * Reads a part of the file into memory and gives its pieces to a test. The page faults of the
   * test map the pages in half of the time that {@link #bringIn} takes to ask the system for it.
   *
   * @param test is given pieces that begin at multiples of 64 KB from {@code offset} on, and their
   *     first bytes before that
   * @return whether all pieces were read and passed
   */
  boolean bringInIf(long offset, long size, Predicate<MemorySegment> test) {
    return inPieces(
        offset,
        size,
        piece -> {
          // All page faults first: a test that is interrupted by faults does not run at full speed.
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
   * Frees the pages of a part of the file in this process. Where its first or last page also
   * belongs to another part, that page is mapped again when the other part is read.
   */
  void giveUp(long offset, long size) {
    advise(offset, size, MADV_DONTNEED);
  }

  /** Lets a {@link #bringIn} on another thread end early. */
  void cancel() {
    closing = true;
  }

  /** Advises the system about a part of the mapping, whose begin is rounded down to a page. */
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
}
