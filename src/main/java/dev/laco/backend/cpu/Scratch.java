package dev.laco.backend.cpu;

import dev.laco.backend.MemoryArena;
import java.lang.foreign.MemorySegment;

/**
 * Scratch memory of the backend: it grows to the largest size that was asked for, and is kept until
 * the backend is closed.
 */
final class Scratch implements AutoCloseable {
  private MemoryArena arena = new MemoryArena();
  private MemorySegment segment = MemorySegment.NULL;

  /**
   * At least {@code bytes} of memory with any content. Memory that an earlier call returned may
   * have been freed.
   */
  MemorySegment atLeast(long bytes) {
    if (segment.byteSize() < bytes) {
      arena.close();
      arena = new MemoryArena();
      segment = arena.allocate(bytes);
    }
    return segment;
  }

  @Override
  public void close() {
    arena.close();
  }
}
