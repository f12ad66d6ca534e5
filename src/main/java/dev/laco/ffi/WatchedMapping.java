package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ResourceException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.util.ArrayDeque;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/**
 * A mapped file that native code reads. If another process cuts the file short meanwhile, the
 * system answers a read of a lost page with a signal that ends the process. Once {@link #survive}
 * was called, such a read gives zeros instead, and {@link #lostPages} is true from then on: whoever
 * believes a result asks that first.
 */
public final class WatchedMapping implements AutoCloseable {
  /** {@code int32_t laco_watch_mappings(void *head)}. */
  private static final MethodHandle WATCH = Downcalls.ofInt(ADDRESS);

  private static final VarHandle WORD = JAVA_LONG.varHandle();

  // struct Watched of lost_pages.cpp.
  private static final long SIZE = 4 * JAVA_LONG.byteSize();
  private static final long BEGIN = 0;
  private static final long END = 8;
  private static final long LOST = 16;
  private static final long NEXT = 24;

  /** A signal handler may read a structure at any time, so that none is ever freed. */
  private static final Deque<MemorySegment> UNUSED = new ArrayDeque<>();

  private static @Nullable MemorySegment head;

  private final MemorySegment watched;

  /** Watches a mapping until {@link #close}, which comes before it is unmapped. */
  public WatchedMapping(MemorySegment mapping) {
    synchronized (UNUSED) {
      watched = UNUSED.isEmpty() ? add() : UNUSED.pop();
    }
    WORD.setRelease(watched, LOST, 0L);
    WORD.setRelease(watched, BEGIN, mapping.address());
    WORD.setRelease(watched, END, mapping.address() + mapping.byteSize());
  }

  /** Makes a structure that native code finds. */
  private static MemorySegment add() {
    MemorySegment first = head();
    MemorySegment added = Arena.global().allocate(SIZE, JAVA_LONG.byteAlignment());
    WORD.setRelease(added, NEXT, (long) WORD.getAcquire(first, 0L));
    WORD.setRelease(first, 0L, added.address());
    return added;
  }

  private static MemorySegment head() {
    synchronized (UNUSED) {
      if (head == null) {
        head = Arena.global().allocate(JAVA_LONG);
      }
      return head;
    }
  }

  /**
   * From now on this process survives the loss of pages of mappings that are watched. That changes
   * how the whole process answers a signal, SIGBUS, and so is for programs to ask for, and not for
   * parts of them; a loss anywhere else is answered as before.
   *
   * @param kernels our own native library
   * @throws ResourceException if the system does not allow it
   */
  public static void survive(NativeLibrary kernels) {
    MemorySegment function = kernels.function("laco_watch_mappings");
    MemorySegment first = head();
    int error = Downcalls.call(() -> (int) WATCH.invokeExact(function, first));
    if (error != 0) {
      throw new ResourceException("cannot handle bus errors: sigaction fails with error " + error);
    }
  }

  /** Whether something was read that was no longer there. */
  public boolean lostPages() {
    return (long) WORD.getAcquire(watched, LOST) != 0;
  }

  @Override
  public void close() {
    WORD.setRelease(watched, END, 0L);
    synchronized (UNUSED) {
      UNUSED.push(watched);
    }
  }
}
