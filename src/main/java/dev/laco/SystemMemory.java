package dev.laco;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/** The memory of this machine, as Linux tells it. */
public final class SystemMemory {
  private static final Path MEMINFO = Path.of("/proc/meminfo");

  private SystemMemory() {}

  /** Bytes that the system can still give without swapping, its page cache included. */
  public static long available() {
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
