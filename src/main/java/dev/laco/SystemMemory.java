package dev.laco;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;

/**
 * The memory that this process can get, as Linux tells it: that of the machine, or of the container
 * or control group that the process runs in, if that is less.
 */
public final class SystemMemory {
  /**
   * The names of a control group's files, in one of the two versions of control groups.
   *
   * @param limits the files that hold limits of memory, in bytes
   * @param usage the file that holds the bytes in use
   * @param cache the entries of {@code memory.stat} that count page cache, which the system gives
   *     up when a process needs memory
   */
  private record Version(List<String> limits, String usage, List<String> cache) {
    static final Version V1 =
        new Version(
            List.of("memory.limit_in_bytes"),
            "memory.usage_in_bytes",
            List.of("total_active_file", "total_inactive_file"));

    static final Version V2 =
        new Version(
            List.of("memory.max", "memory.high"),
            "memory.current",
            List.of("active_file", "inactive_file"));
  }

  private SystemMemory() {}

  /**
   * Bytes that this process can still allocate before the system swaps; page cache counts as free.
   */
  public static long available() {
    return available(Path.of("/"));
  }

  /**
   * As {@link #available()}, for a system whose files lie under a folder.
   *
   * @param root the folder that holds {@code proc} and {@code sys}
   */
  static long available(Path root) {
    OptionalLong kilobytes = entry(root.resolve("proc/meminfo"), "MemAvailable:");
    long least = kilobytes.isPresent() ? 1024 * kilobytes.getAsLong() : Long.MAX_VALUE;
    Path groups = root.resolve("sys/fs/cgroup");
    for (String line : lines(root.resolve("proc/self/cgroup"))) {
      // A line is NUMBER:CONTROLLERS:FOLDER. In version 2 the number is 0, and no controllers are
      // named.
      String[] parts = line.split(":", 3);
      if (parts.length == 3 && parts[0].equals("0")) {
        least = Math.min(least, available(groups, parts[2], Version.V2));
      } else if (parts.length == 3 && Arrays.asList(parts[1].split(",")).contains("memory")) {
        least = Math.min(least, available(groups.resolve("memory"), parts[2], Version.V1));
      }
    }
    return least;
  }

  /** Bytes that can still be allocated in a control group and in all groups around it. */
  private static long available(Path mount, String group, Version version) {
    long least = Long.MAX_VALUE;
    Path folder = mount.resolve(group.substring(1)).normalize();
    for (; folder != null && folder.startsWith(mount); folder = folder.getParent()) {
      for (String limit : version.limits) {
        OptionalLong most = number(folder.resolve(limit));
        if (most.isPresent()) {
          long used = number(folder.resolve(version.usage)).orElse(0);
          for (String cache : version.cache) {
            used -= entry(folder.resolve("memory.stat"), cache + " ").orElse(0);
          }
          least = Math.min(least, Math.max(0, most.getAsLong() - Math.max(0, used)));
        }
      }
    }
    return least;
  }

  /**
   * The number that a file holds; empty where the file is missing or says {@code max}, no limit.
   */
  private static OptionalLong number(Path file) {
    return lines(file).stream()
        .filter(line -> line.matches("[0-9]{1,18}"))
        .mapToLong(Long::parseLong)
        .findFirst();
  }

  /** The number behind a key in a file of lines {@code KEY NUMBER}; empty where there is none. */
  private static OptionalLong entry(Path file, String key) {
    return lines(file).stream()
        .filter(line -> line.startsWith(key))
        .mapToLong(line -> Long.parseLong(line.substring(key.length()).replaceAll("[^0-9]", "")))
        .findFirst();
  }

  private static List<String> lines(Path file) {
    try {
      return Files.readAllLines(file);
    } catch (IOException e) {
      return List.of();
    }
  }
}
