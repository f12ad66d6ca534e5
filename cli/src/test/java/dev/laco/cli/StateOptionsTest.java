package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.laco.DiskRoom;
import dev.laco.ResourceException;
import dev.laco.checkpoint.DiskSpace;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The room for the state of a training. */
class StateOptionsTest {
  /** More than other programs write or delete during the test; the file takes no room. */
  private static final long STATE = 1L << 40;

  @TempDir Path folder;

  private void require(long bytes) throws IOException {
    DiskSpace space = new DiskSpace();
    StateOptions.addTo(space, folder.resolve("out"), bytes);
    space.require();
  }

  @Test
  void whatAnEarlierRunHasLeftTakesNoMoreRoom() throws IOException {
    Path left = Files.createDirectory(folder.resolve("out.heal"));
    long free = DiskRoom.freeBytes(folder);
    make(left.resolve("step-7.safetensors"), STATE);
    require(free + STATE / 2);
    // A state that was not complete is deleted behind the next one.
    make(left.resolve("step-9.safetensors"), STATE / 2);
    assertThrows(ResourceException.class, () -> require(free + 5 * STATE / 4));
    // The fitted model that is trained stays.
    make(left.resolve("fitted.safetensors"), STATE);
    require(free + 3 * STATE / 2);
    assertThrows(ResourceException.class, () -> require(free + 5 * STATE / 2));
  }

  private static void make(Path file, long size) throws IOException {
    try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(size);
    }
  }
}
