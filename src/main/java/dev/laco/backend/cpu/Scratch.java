package dev.laco.backend.cpu;

import dev.laco.backend.MemoryArena;
import java.lang.foreign.MemorySegment;

/** Memory of one purpose that grows to the largest size asked for and then stays. */
final class Scratch implements AutoCloseable {
  private MemoryArena arena = new MemoryArena();
  private MemorySegment segment = MemorySegment.NULL;

  /** At least {@code bytes}, with any content; what an earlier call returned may be gone. */
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
