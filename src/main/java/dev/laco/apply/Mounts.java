package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Tells where file systems are mounted. A mount point cannot be renamed, and no folder can be
 * renamed over it.
 */
final class Mounts {
  private static final Path TABLE = Path.of("/proc/self/mountinfo");

  private Mounts() {}

  /**
   * Whether a folder is a mount point, such as a container's volume.
   *
   * @param folder the real path of a folder, which need not exist
   */
  static boolean isMountPoint(Path folder) throws IOException {
    Path parent = folder.getParent();
    if (parent == null || !Files.isDirectory(folder)) {
      return parent == null;
    }
    return !device(folder).equals(device(parent)) || isInTable(folder);
  }

  private static Object device(Path folder) throws IOException {
    return Files.getAttribute(folder, "unix:dev");
  }

  /**
   * Whether the table of mounts has the folder. A folder of a file system may be mounted within the
   * same file system, so that device numbers alone do not tell.
   */
  private static boolean isInTable(Path folder) {
    String name =
        folder
            .toString()
            .replace("\\", "\\134")
            .replace(" ", "\\040")
            .replace("\t", "\\011")
            .replace("\n", "\\012");
    try {
      return new String(Files.readAllBytes(TABLE), UTF_8)
          .lines()
          .map(line -> line.split(" ", 6))
          .anyMatch(fields -> fields.length == 6 && fields[4].equals(name));
    } catch (IOException e) {
      return false;
    }
  }
}
