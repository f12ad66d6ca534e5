package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.ffi.PrivateFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * Loads JCuda's native libraries. JCuda unpacks them under fixed names into {@code java.io.tmpdir},
 * where another user's file may lie, so that it is shown a private folder instead.
 */
final class JcudaLibraries {
  private static final String TEMPORARY = "java.io.tmpdir";

  private JcudaLibraries() {}

  /**
   * Makes JCuda load the library that {@code firstUse} needs.
   *
   * @throws ResourceException if that fails; JCuda then throws {@link UnsatisfiedLinkError} once
   *     and {@link NoClassDefFoundError} ever after
   */
  static synchronized void load(String what, Runnable firstUse) {
    String temporary = System.getProperty(TEMPORARY);
    try {
      Path folder = PrivateFolder.makeTemporary(Path.of(temporary));
      System.setProperty(TEMPORARY, folder.toString());
      try {
        firstUse.run();
      } finally {
        System.setProperty(TEMPORARY, temporary);
        delete(folder);
      }
    } catch (IOException | LinkageError e) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s does not load from a folder in %s: %s; set TMPDIR to a folder of your own that allows execution, or use %s ffm, which needs no library of its own",
              what,
              temporary,
              firstLine(e),
              Setting.of("cudaBinding")),
          e);
    }
  }

  /** The first line of a message; JCuda's messages contain stack traces after it. */
  private static String firstLine(Throwable e) {
    return e.toString().lines().findFirst().orElseThrow();
  }

  /** Deletes the folder; a loaded library does not need its file. */
  private static void delete(Path folder) throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
