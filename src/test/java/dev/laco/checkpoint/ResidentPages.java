package dev.laco.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** How much of a mapped file is in this process's memory. */
final class ResidentPages {
  private ResidentPages() {}

  /** Bytes of a file's mappings that are in this process's memory. */
  static long bytes(Path file) {
    try {
      String name = file.toRealPath().toString();
      long bytes = 0;
      boolean mapping = false;
      for (String line : Files.readAllLines(Path.of("/proc/self/smaps"))) {
        if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
          mapping = line.endsWith(name);
        } else if (mapping && line.startsWith("Rss:")) {
          bytes += 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
      }
      return bytes;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
