package dev.laco.ffi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import org.jspecify.annotations.Nullable;

/**
 * Whole pages of memory that the system gives to this process, and gets back at once when freed.
 */
public final class AnonymousMemory {
  /** Whether the system counts memory against what it has when it is mapped, or when it is used. */
  public enum Counted {
    MAPPED(0x22),
    USED(0x4022);

    /** {@code MAP_PRIVATE | MAP_ANONYMOUS}, with {@code MAP_NORESERVE} or without. */
    private final int flags;

    Counted(int flags) {
      this.flags = flags;
    }
  }

  private static final int PROT_READ_WRITE = 3;
  private static final long MAP_FAILED = -1;

  /** {@code void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)}. */
  private static final MethodHandle MMAP =
      Downcalls.ofAddress(ADDRESS, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_LONG);

  /** {@code int munmap(void *addr, size_t length)}. */
  private static final MethodHandle MUNMAP = Downcalls.ofInt(ADDRESS, JAVA_LONG);

  private AnonymousMemory() {}

  /**
   * Maps memory, which holds zeros.
   *
   * @param bytes at least 1
   * @param arena frees the memory when it is closed
   * @return null where the system gives none
   */
  public static @Nullable MemorySegment map(long bytes, Counted counted, Arena arena) {
    MemorySegment mmap = CLibrary.function("mmap");
    MemorySegment munmap = CLibrary.function("munmap");
    MemorySegment pages =
        Downcalls.call(
            () ->
                (MemorySegment)
                    MMAP.invokeExact(
                        mmap, MemorySegment.NULL, bytes, PROT_READ_WRITE, counted.flags, -1, 0L));
    return pages.address() == MAP_FAILED
        ? null
        : pages.reinterpret(
            bytes,
            arena,
            mapped -> Downcalls.call(() -> (int) MUNMAP.invokeExact(munmap, mapped, bytes)));
  }
}
