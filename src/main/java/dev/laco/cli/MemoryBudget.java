package dev.laco.cli;

import dev.laco.ResourceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Says before work starts whether its buffers fit. */
final class MemoryBudget {
  private static final Path MEMINFO = Path.of("/proc/meminfo");

  private MemoryBudget() {}

  /**
   * Checks buffers against {@code --memory}, or against what the machine has free.
   *
   * @throws ResourceException that says needed, free, and what helps
   */
  static void require(long needed, @Nullable ByteSize budget, String helps) {
    long free = budget == null ? available() : budget.bytes();
    if (needed > free) {
      throw new ResourceException(
          "buffers need "
              + ByteSize.show(needed)
              + ", "
              + (budget == null ? "free are " : "--memory gives ")
              + ByteSize.show(free)
              + "; "
              + helps);
    }
  }

  /** Bytes that the system can still give. */
  static long available() {
    try {
      Optional<String> line =
          Files.readAllLines(MEMINFO).stream()
              .filter(l -> l.startsWith("MemAvailable:"))
              .findFirst();
      return line.map(l -> Long.parseLong(l.replaceAll("[^0-9]", "")) * 1024)
          .orElse(Long.MAX_VALUE);
    } catch (IOException e) {
      return Long.MAX_VALUE;
    }
  }
}
