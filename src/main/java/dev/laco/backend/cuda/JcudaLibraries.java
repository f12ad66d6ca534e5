package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/**
 * Loads JCuda's native libraries. JCuda unpacks them under fixed names into {@code java.io.tmpdir},
 * where another user's file may lie, so that it is shown a private folder instead.
 */
final class JcudaLibraries {
  private static final String TEMPORARY = "java.io.tmpdir";

  private JcudaLibraries() {}

  /**
   * Makes JCuda load what {@code firstUse} needs.
   *
   * @throws ResourceException if that fails; JCuda then throws {@link UnsatisfiedLinkError} once
   *     and {@link NoClassDefFoundError} ever after
   */
  static synchronized void load(String what, Runnable firstUse) {
    String temporary = System.getProperty(TEMPORARY);
    try {
      Path folder = Files.createTempDirectory("laco-jcuda-");
      System.setProperty(TEMPORARY, folder.toString());
      try {
        firstUse.run();
      } finally {
        System.setProperty(TEMPORARY, temporary);
        delete(folder);
      }
    } catch (IOException | LinkageError e) {
      throw new ResourceException(
          what + " does not load: " + e + "; --cuda-binding ffm needs no library of its own", e);
    }
  }

  /** A mapped library outlives its name. */
  private static void delete(Path folder) throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
