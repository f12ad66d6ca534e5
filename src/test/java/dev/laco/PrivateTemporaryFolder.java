package dev.laco;

import dev.laco.ffi.PrivateFolder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;
import org.junit.platform.launcher.LauncherSession;
import org.junit.platform.launcher.LauncherSessionListener;

/**
 * Gives the tests of a JVM a {@code java.io.tmpdir} that no other user can write to, as a host must
 * that calls CUDA through JCuda.
 */
public final class PrivateTemporaryFolder implements LauncherSessionListener {
  private static final String TEMPORARY = "java.io.tmpdir";

  private final String before = System.getProperty(TEMPORARY);
  private Path folder;

  @Override
  public void launcherSessionOpened(LauncherSession session) {
    try {
      folder = PrivateFolder.makeTemporary(Path.of(before));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    System.setProperty(TEMPORARY, folder.toString());
  }

  @Override
  public void launcherSessionClosed(LauncherSession session) {
    System.setProperty(TEMPORARY, before);
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
