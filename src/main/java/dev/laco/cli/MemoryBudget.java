package dev.laco.cli;

import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.cuda.CudaBackend;
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
   * Checks buffers against {@code --memory}, or against what the machine or the device has free. On
   * a device the weights need room too.
   *
   * @param weights bytes of the checkpoint
   * @param buffers bytes
   * @throws ResourceException that says needed, free, and what helps
   */
  static void require(
      Backend backend, long weights, long buffers, @Nullable ByteSize budget, String helps) {
    if (budget != null) {
      require("buffers need ", buffers, "--memory gives ", budget.bytes(), helps);
    }
    if (backend instanceof CudaBackend cuda) {
      long needed = weights + buffers + cuda.scratchBytes(buffers);
      String free = "free on %s are ".formatted(cuda.device());
      require(
          "weights and buffers need ",
          needed,
          free,
          cuda.freeMemory(),
          helps + ", or --device cpu");
    } else if (budget == null) {
      require("buffers need ", buffers, "free are ", available(), helps);
    }
  }

  private static void require(String what, long needed, String where, long free, String helps) {
    if (needed > free) {
      throw new ResourceException(
          what + ByteSize.show(needed) + ", " + where + ByteSize.show(free) + "; " + helps);
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
