package dev.laco.backend.cpu;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/** Counts processor cores. */
public final class CpuCores {
  private static final Path CPUS = Path.of("/sys/devices/system/cpu");

  private CpuCores() {}

  /**
   * Physical cores that this process may use: hardware threads of one core share its arithmetic
   * units, so that more threads than cores make matrix products slower. Never more than {@link
   * Runtime#availableProcessors}, which knows affinity and container limits.
   */
  public static int available() {
    int processors = Runtime.getRuntime().availableProcessors();
    Set<String> cores = new HashSet<>();
    try (DirectoryStream<Path> cpus = Files.newDirectoryStream(CPUS, "cpu[0-9]*")) {
      for (Path cpu : cpus) {
        Path siblings = cpu.resolve("topology/thread_siblings_list");
        if (Files.isReadable(siblings)) {
          cores.add(Files.readString(siblings));
        }
      }
    } catch (IOException e) {
      return processors;
    }
    return cores.isEmpty() ? processors : Math.min(processors, cores.size());
  }
}
