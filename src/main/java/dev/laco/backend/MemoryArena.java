package dev.laco.backend;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.SystemMemory;
import dev.laco.ffi.AnonymousMemory;
import dev.laco.ffi.CLibrary;
import dev.laco.ffi.Downcalls;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.invoke.MethodHandle;
import java.util.Locale;

/**
 * Allocates tensors in the memory of this process, each aligned to a cache line.
 *
 * <p>The memory comes from the system, small blocks from the C library. {@link Arena#allocate}
 * would count the memory against the limit for direct buffers, which is the size of the Java heap,
 * and would touch every page at once.
 */
public final class MemoryArena implements TensorArena, SegmentAllocator {
  private static final long ALIGNMENT = 64;

  /**
   * The fewest bytes that are pages of their own. The C library keeps freed blocks of up to 32 MB
   * for the thread that had them, so that a process which runs many jobs would grow. Pages take
   * longer than its blocks: from 256 KB on, a prune takes a second of system time more.
   */
  private static final long LEAST_MAPPED = 4 << 20;

  /** {@code void *calloc(size_t count, size_t size)}. */
  private static final MethodHandle CALLOC = Downcalls.ofAddress(JAVA_LONG, JAVA_LONG);

  /** {@code void free(void *memory)}. */
  private static final MethodHandle FREE = Downcalls.ofVoid(ADDRESS);

  private final MemorySegment calloc = CLibrary.function("calloc");
  private final MemorySegment free = CLibrary.function("free");
  private final Arena arena = Arena.ofShared();
  private boolean closed;

  @Override
  public MemoryTensor allocate(DType dtype, long rows, long columns) {
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    return new MemoryTensor(dtype, rows, columns, allocate(bytes));
  }

  /**
   * {@inheritDoc} The memory holds zeros.
   *
   * @param alignment at most 64, the size of a cache line
   */
  @Override
  public MemorySegment allocate(long bytes, long alignment) {
    if (alignment > ALIGNMENT) {
      throw new IllegalArgumentException("aligned to " + alignment + " bytes");
    }
    if (closed) {
      throw new IllegalStateException("the arena is closed");
    }
    if (bytes >= LEAST_MAPPED) {
      MemorySegment pages = AnonymousMemory.map(bytes, AnonymousMemory.Counted.MAPPED, arena);
      if (pages == null) {
        throw outOfMemory(bytes);
      }
      return pages;
    }
    MemorySegment block = calloc(bytes + ALIGNMENT);
    if (block.equals(MemorySegment.NULL)) {
      throw outOfMemory(bytes);
    }
    long padding = -block.address() & (ALIGNMENT - 1);
    return block
        .reinterpret(bytes + ALIGNMENT, arena, this::free)
        .asSlice(padding, bytes, ALIGNMENT);
  }

  private static ResourceException outOfMemory(long bytes) {
    return new ResourceException(
        String.format(
            Locale.ROOT,
            "out of memory: %d bytes needed, available %d; %s bounds what is held at once",
            bytes,
            SystemMemory.available(),
            Setting.of("memory")));
  }

  @Override
  public void close() {
    if (!closed) {
      closed = true;
      arena.close();
    }
  }

  private MemorySegment calloc(long bytes) {
    return Downcalls.call(() -> (MemorySegment) CALLOC.invokeExact(calloc, 1L, bytes));
  }

  private void free(MemorySegment block) {
    Downcalls.call(
        () -> {
          FREE.invokeExact(free, block);
          return null;
        });
  }
}
