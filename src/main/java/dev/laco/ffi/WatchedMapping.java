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
 * A mapped file that native code reads. If another process cuts the file short, Linux answers a
 * read behind the new end with the signal SIGBUS, which ends the process. After {@link #survive}
 * was called, such a read gives zeros instead, and {@link #lostPages} is true from then on. Before
 * a result is used, {@link #lostPages} must be asked.
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

  /**
   * Structures that no mapping uses. No structure is ever freed, since the signal handler may read
   * it at any time.
   */
  private static final Deque<MemorySegment> UNUSED = new ArrayDeque<>();

  private static @Nullable MemorySegment head;

  private final MemorySegment watched;

  /** Watches a mapping until {@link #close}, which must be called before the file is unmapped. */
  public WatchedMapping(MemorySegment mapping) {
    synchronized (UNUSED) {
      watched = UNUSED.isEmpty() ? add() : UNUSED.pop();
    }
    WORD.setRelease(watched, LOST, 0L);
    WORD.setRelease(watched, BEGIN, mapping.address());
    WORD.setRelease(watched, END, mapping.address() + mapping.byteSize());
  }

  /** Makes a structure, and adds it to the list that the signal handler reads. */
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
   * Installs the handler of SIGBUS, so that this process survives reads of lost pages of watched
   * mappings. The handler belongs to the whole process; therefore a program calls this, and no
   * library does. SIGBUS for any other reason has the effect that it had before.
   *
   * @param kernels the engine's own native library
   * @throws ResourceException if the system does not allow the handler
   */
  public static void survive(NativeLibrary kernels) {
    MemorySegment function = kernels.function("laco_watch_mappings");
    MemorySegment first = head();
    int error = Downcalls.call(() -> (int) WATCH.invokeExact(function, first));
    if (error != 0) {
      throw new ResourceException("cannot handle bus errors: sigaction fails with error " + error);
    }
  }

  /** Whether a byte behind the end of the file was read. */
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
