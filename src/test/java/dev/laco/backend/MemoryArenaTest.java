package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Memory of tensors, of the system's pages and of the C library's blocks. */
final class MemoryArenaTest {
  private static final long BLOCK = 8L << 20;
  private static final int BLOCKS = 24;

  @Test
  void memoryIsAlignedAndHoldsZeros() {
    try (MemoryArena arena = new MemoryArena()) {
      for (long bytes : new long[] {1, 100, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, BLOCK}) {
        MemorySegment memory = arena.allocate(bytes, 64);
        assertEquals(0, memory.address() % 64);
        assertEquals(bytes, memory.byteSize());
        assertEquals(0, memory.get(ValueLayout.JAVA_BYTE, 0));
        assertEquals(0, memory.get(ValueLayout.JAVA_BYTE, bytes - 1));
        memory.fill((byte) 1);
      }
    }
  }

  /** The C library keeps freed blocks between others that stay, once it has seen a few of them. */
  @Test
  void aClosedArenaGivesItsMemoryBack() throws IOException {
    try (MemoryArena stays = new MemoryArena()) {
      fill(stays);
      long before = resident();
      fill(stays);
      assertTrue(resident() - before < BLOCK * BLOCKS / 2, resident() + " behind " + before);
    }
  }

  private static void fill(MemoryArena stays) {
    try (MemoryArena arena = new MemoryArena()) {
      for (int block = 0; block < BLOCKS; block++) {
        arena.allocate(BLOCK, 64).fill((byte) 1);
        stays.allocate(4096, 64);
      }
    }
  }

  /** Bytes of memory that this process has. */
  private static long resident() throws IOException {
    String[] pages = Files.readString(Path.of("/proc/self/statm")).split(" ");
    return 4096 * Long.parseLong(pages[1]);
  }
}
