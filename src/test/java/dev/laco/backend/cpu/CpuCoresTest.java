package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Cores are counted, not the threads of a core, and only those that a process may use. */
class CpuCoresTest {
  @TempDir Path folder;

  /**
   * A machine of four cores with two threads each, cpu0 and cpu4 being the first core.
   *
   * @param allowed what the process may run on
   * @param processors what the Java runtime makes of it, and of a container's share
   */
  @ParameterizedTest
  @CsvSource({
    "0-7, 8, 4",
    "'0,4', 2, 1",
    "'0-1,4-5', 4, 2",
    "'0,5', 2, 2",
    "3, 1, 1",
    "0-7, 2, 2",
    "0-7, 1, 1",
    "0-1023, 64, 64"
  })
  void threadsOfOneCoreAreOne(String allowed, int processors, int cores) throws IOException {
    for (int cpu = 0; cpu < 8; cpu++) {
      Path topology = Files.createDirectories(folder.resolve("cpu" + cpu + "/topology"));
      Files.writeString(
          topology.resolve("thread_siblings_list"), cpu % 4 + "," + (cpu % 4 + 4) + "\n");
    }
    Path status =
        Files.writeString(
            folder.resolve("status"),
            "Name:\tjava\nCpus_allowed:\tff\nCpus_allowed_list:\t"
                + allowed
                + "\nMems_allowed:\t1\n");
    assertEquals(cores, CpuCores.available(folder, status, processors));
  }

  @Test
  void whereNothingIsSaidAllProcessorsCount() throws IOException {
    assertEquals(3, CpuCores.available(folder, folder.resolve("missing"), 3));
    Path status = Files.writeString(folder.resolve("status"), "Cpus_allowed_list:\t0-7\n");
    assertEquals(3, CpuCores.available(folder, status, 3));
    assertEquals(8, CpuCores.available(folder, status, 20));
    assertEquals(20, CpuCores.available(folder, Files.writeString(status, "Name:\tx\n"), 20));
    assertTrue(CpuCores.available() >= 1);
  }
}
