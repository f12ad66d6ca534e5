package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Random;

/**
 * Changed copies of a good file. A reader makes something of a copy, or refuses it by one line:
 * soon, and in little memory. The copies are the same ones every time.
 */
public final class MutatedFiles {
  /** How many copies each container of weights is tried with. */
  public static final int COUNT = 1_000;

  /** The most memory that one copy may take. */
  public static final long MOST_MEMORY = 256 << 20;

  /** The most processor time that all copies of a file may take. */
  private static final Duration LONG = Duration.ofSeconds(60);

  /** So long that a reader that is not done then waits for something, however busy the machine. */
  private static final Duration HANGS = Duration.ofMinutes(10);

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private MutatedFiles() {}

  /** Reads the file that was changed. */
  @FunctionalInterface
  public interface Reader {
    /**
     * Reads the file and closes it.
     *
     * @return bytes of memory beside the heap that was taken
     * @throws BadInputException if the file is refused
     */
    long read() throws IOException;
  }

  /**
   * Has copies of a file read, each with one to four bytes changed, and some cut short.
   *
   * @param file the good file, in whose place the copies are written
   * @param within changes are in so many first bytes
   * @param likely bytes that mean something in the format, which half of the changes write
   * @return how many copies were refused
   */
  public static int refused(int count, Path file, int within, String likely, Reader reader)
      throws IOException {
    byte[] good = Files.readAllBytes(file);
    Random random = new Random(file.getFileName().hashCode());
    return assertTimeoutPreemptively(
        HANGS,
        () -> {
          long start = THREADS.getCurrentThreadCpuTime();
          int refused = 0;
          for (int i = 0; i < count; i++) {
            Files.write(file, changed(good, within, likely, random));
            refused += isRefused(file, reader) ? 1 : 0;
            Duration taken = Duration.ofNanos(THREADS.getCurrentThreadCpuTime() - start);
            assertTrue(taken.compareTo(LONG) < 0, () -> taken + " of processor time");
          }
          return refused;
        });
  }

  private static byte[] changed(byte[] good, int within, String likely, Random random) {
    byte[] bytes = good.clone();
    for (int change = random.nextInt(4); change >= 0; change--) {
      bytes[random.nextInt(within)] =
          random.nextBoolean()
              ? (byte) likely.charAt(random.nextInt(likely.length()))
              : (byte) random.nextInt();
    }
    return random.nextInt(8) == 0 ? Arrays.copyOf(bytes, random.nextInt(bytes.length)) : bytes;
  }

  private static boolean isRefused(Path file, Reader reader) throws IOException {
    long before = allocated();
    long beside = 0;
    boolean refused = false;
    try {
      beside = reader.read();
    } catch (BadInputException e) {
      refused = true;
      assertTrue(e.getMessage().startsWith(file.getParent().toString()), e.getMessage());
      assertEquals(1, e.getMessage().lines().count(), e.getMessage());
    }
    long taken = allocated() - before + beside;
    assertTrue(taken < MOST_MEMORY, () -> taken + " bytes");
    return refused;
  }

  /** Bytes of the heap that this thread was given since it began. */
  public static long allocated() {
    return THREADS.getCurrentThreadAllocatedBytes();
  }
}
