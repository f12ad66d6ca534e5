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
      for (long bytes : new long[] {1, 100, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, BLOCK}) {
        MemorySegment memory = arena.allocate(bytes, 64);
        assertEquals(0, memory.address() % 64);
        assertEquals(bytes, memory.byteSize());
        assertEquals(0, memory.get(ValueLayout.JAVA_BYTE, 0));
        assertEquals(0, memory.get(ValueLayout.JAVA_BYTE, bytes - 1));
        memory.fill((byte) 1);
      }
    }
  }

  /** The C library keeps blocks that one thread freed, and other threads take new ones. */
  @Test
  void jobsOnManyThreadsGiveTheirMemoryBack() throws IOException, InterruptedException {
    onAThread();
    long before = resident();
    for (int i = 0; i < 3; i++) {
      onAThread();
    }
    assertTrue(resident() - before < BLOCK * BLOCKS / 2, resident() + " behind " + before);
  }

  private static void onAThread() throws InterruptedException {
    Thread thread =
        new Thread(
            () -> {
              for (int round = 0; round < 2; round++) {
                try (MemoryArena arena = new MemoryArena()) {
                  for (int block = 0; block < BLOCKS; block++) {
                    arena.allocate(BLOCK, 64).fill((byte) 1);
                  }
                }
              }
            });
    thread.start();
    thread.join();
  }

  /** Bytes of memory that this process has. */
  private static long resident() throws IOException {
    String[] pages = Files.readString(Path.of("/proc/self/statm")).split(" ");
    return 4096 * Long.parseLong(pages[1]);
  }
}
