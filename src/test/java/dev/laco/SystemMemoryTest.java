package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is available on a machine, and in a container on it. */
class SystemMemoryTest {
  private static final long MACHINE = 1024 * 8_000_000L;
  private static final String GROUP = "sys/fs/cgroup/kube/pod/";

  @TempDir Path root;

  @BeforeEach
  void machine() throws IOException {
    put(
        "proc/meminfo",
        "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n");
    put("proc/self/cgroup", "0::/kube/pod\n");
  }

  private void put(String name, String text) throws IOException {
    Path file = root.resolve(name);
    Files.createDirectories(file.getParent());
    Files.writeString(file, text);
  }

  private long available() {
    return SystemMemory.available(root);
  }

  @Test
  void withoutAGroupItIsTheMachines() throws IOException {
    assertEquals(MACHINE, available());
    put(GROUP + "memory.max", "max\n");
    put(GROUP + "memory.high", "max\n");
    put(GROUP + "memory.current", "5000\n");
    assertEquals(MACHINE, available());
    Files.delete(root.resolve("proc/meminfo"));
    assertEquals(Long.MAX_VALUE, available());
  }

  @Test
  void inAGroupItIsWhatItsLimitsLeave() throws IOException {
    put(GROUP + "memory.max", "1000000\n");
    put(GROUP + "memory.current", "300000\n");
    assertEquals(700_000, available());
    put(GROUP + "memory.high", "900000\n");
    assertEquals(600_000, available());
    // Page cache is given back.
    put(GROUP + "memory.stat", "anon 5\nactive_file 40000\ninactive_file 10000\n");
    assertEquals(650_000, available());
    put(GROUP + "memory.current", "2000000\n");
    assertEquals(0, available());
  }

  @Test
  void theNearestLimitOnTheWayUpHolds() throws IOException {
    put(GROUP + "memory.max", "1000000\n");
    put(GROUP + "memory.current", "300000\n");
    put("sys/fs/cgroup/kube/memory.max", "2000000\n");
    put("sys/fs/cgroup/kube/memory.current", "1900000\n");
    assertEquals(100_000, available());
    put("sys/fs/cgroup/kube/memory.max", "9000000\n");
    assertEquals(700_000, available());
    // A container that sees its own group as the root.
    put("proc/self/cgroup", "0::/\n");
    assertEquals(MACHINE, available());
    put("sys/fs/cgroup/memory.max", "400000\n");
    assertEquals(400_000, available());
  }

  @Test
  void theFirstVersionHasOtherNames() throws IOException {
    put("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/pod\n0::/\n");
    put("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "5000000\n");
    put("sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "1000000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/pod/memory.stat", "total_inactive_file 500000\n");
    assertEquals(4_500_000, available());
  }

  @Test
  void thisMachineHasSome() {
    assertTrue(SystemMemory.available() > 0);
    assertTrue(SystemMemory.available() < Long.MAX_VALUE);
  }
}
