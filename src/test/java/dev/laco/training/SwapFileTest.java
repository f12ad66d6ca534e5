package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A file of what does not stay in memory. */
class SwapFileTest {
  /** More than a disk has. */
  private static final long TOO_MUCH = Long.MAX_VALUE / 2;

  @TempDir Path folder;

  @Test
  void aFileLeavesTheRoomThatIsReserved() {
    try (Backend backend = new ReferenceBackend(Compute.F32)) {
      SwapFile.create(backend, folder, 1, 0).close();
      assertTrue(SwapFile.leavesRoom(folder, 1, 0));
      assertThrows(ResourceException.class, () -> SwapFile.create(backend, folder, 1, TOO_MUCH));
      assertFalse(SwapFile.leavesRoom(folder, 1, TOO_MUCH));
    }
  }
}
