package dev.laco.checkpoint;

import dev.laco.DiskRoom;
import dev.laco.ResourceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;

/**
 * Adds up the disk space that files will need, and checks before any work that their file systems
 * have it.
 */
public final class DiskSpace {
  private final SequencedMap<Object, Need> needs = new LinkedHashMap<>();

  /** Nothing is needed yet. */
  public DiskSpace() {}

  private static final class Need {
    private final Path folder;
    private final List<String> names = new ArrayList<>();
    private long bytes;

    private Need(Path folder) {
      this.folder = folder;
    }
  }

  /**
   * Counts a file or folder that will be written.
   *
   * @param name as the user gave it, for messages
   * @param path the real path, which need not exist
   * @param bytes the most bytes that it takes
   * @throws IOException if the file system of the path cannot be determined
   */
  public void add(String name, Path path, long bytes) throws IOException {
    Path folder = path;
    while (!Files.isDirectory(folder) && folder.getParent() != null) {
      folder = folder.getParent();
    }
    Path existing = folder;
    Need need =
        needs.computeIfAbsent(Files.getAttribute(folder, "unix:dev"), any -> new Need(existing));
    need.names.add(name);
    need.bytes += bytes;
  }

  /**
   * Checks that the file systems have space for everything that was counted.
   *
   * @throws ResourceException if a file system has less space than is needed on it
   */
  public void require() {
    for (Need need : needs.values()) {
      long free = DiskRoom.freeBytes(need.folder);
      if (need.bytes > free) {
        throw new ResourceException(
            String.format(
                Locale.ROOT,
                "%s: needs %d bytes but %d are free on its file system; free some space or choose another place",
                String.join(", ", need.names),
                need.bytes,
                free));
      }
    }
  }
}
