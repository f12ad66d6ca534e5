package dev.laco.bench;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/**
 * Where and what was measured.
 *
 * @param loadBefore processes that ran or wanted to, on average of the last minute
 */
public record Machine(
    String processor,
    int cores,
    double loadBefore,
    String system,
    String jdk,
    String commit,
    String command,
    String started) {

  /** This machine, before anything is measured. */
  public static Machine now() throws IOException {
    return new Machine(
        Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
            .filter(line -> line.startsWith("model name"))
            .map(line -> line.substring(line.indexOf(':') + 1).strip())
            .findFirst()
            .orElse("unknown"),
        Runtime.getRuntime().availableProcessors(),
        ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage(),
        System.getProperty("os.name") + " " + System.getProperty("os.version"),
        System.getProperty("java.vendor") + " " + Runtime.version(),
        System.getProperty("laco.bench.commit", "unknown"),
        System.getProperty("laco.bench.command", "unknown"),
        Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
  }
}
