package dev.laco.backend.cpu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/** Counts the cores that this process may use. */
public final class CpuCores {
  private static final Path CPUS = Path.of("/sys/devices/system/cpu");
  private static final Path STATUS = Path.of("/proc/self/status");

  /** {@code Cpus_allowed_list: 0-3,8}. */
  private static final Pattern ALLOWED = Pattern.compile("(?m)^Cpus_allowed_list:\\s*(\\S+)$");

  private static final Pattern RANGE = Pattern.compile("([0-9]{1,6})(?:-([0-9]{1,6}))?");

  private CpuCores() {}

  /**
   * The number of physical cores that this process may use. The hardware threads of one core share
   * its arithmetic units, so that more threads than cores make matrix products slower. The number
   * is at most {@link Runtime#availableProcessors}, which respects the CPU limit of a container.
   */
  public static int available() {
    return available(CPUS, STATUS, Runtime.getRuntime().availableProcessors());
  }

  /**
   * The number for a machine whose description lies in files.
   *
   * @param cpus folder with a folder for each processor, like {@code /sys/devices/system/cpu}
   * @param status file like {@code /proc/self/status}, which lists the processors that a process
   *     may run on
   * @param processors the largest number to return
   */
  static int available(Path cpus, Path status, int processors) {
    Set<String> cores = new HashSet<>();
    try {
      MatchResult allowed =
          ALLOWED.matcher(Files.readString(status)).results().findFirst().orElse(null);
      if (allowed == null) {
        return processors;
      }
      for (MatchResult range : RANGE.matcher(allowed.group(1)).results().toList()) {
        int first = Integer.parseInt(range.group(1));
        int last = range.group(2) == null ? first : Integer.parseInt(range.group(2));
        for (int cpu = first; cpu <= last; cpu++) {
          cores.add(core(cpus, cpu));
        }
      }
    } catch (IOException e) {
      return processors;
    }
    return cores.isEmpty() ? processors : Math.min(processors, cores.size());
  }

  /**
   * A name that the hardware threads of one core have in common. A processor that the system tells
   * nothing about counts as a core.
   */
  private static String core(Path cpus, int cpu) throws IOException {
    Path siblings = cpus.resolve("cpu" + cpu).resolve("topology/thread_siblings_list");
    return Files.isReadable(siblings) ? Files.readString(siblings) : "cpu" + cpu;
  }
}
