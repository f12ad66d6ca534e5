package dev.laco.cli;

import dev.laco.ffi.PrivateFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.stream.Stream;

/**
 * The folder that JCuda unpacks its libraries into: a new one in the temporary folder of the
 * machine, which other users can write to as well. It is this process's {@code java.io.tmpdir} from
 * then on, and is deleted at exit.
 */
public final class JcudaFolder {
  private static final String TEMPORARY = "java.io.tmpdir";

  private static boolean made;

  private JcudaFolder() {}

  /**
   * Makes the folder, once. Where it cannot be made, the engine refuses JCuda and says why, so that
   * this is no error here.
   */
  public static synchronized void make() {
    if (made) {
      return;
    }
    made = true;
    Path folder;
    try {
      folder = PrivateFolder.makeTemporary(Path.of(System.getProperty(TEMPORARY)));
    } catch (IOException e) {
      return;
    }
    Runtime.getRuntime().addShutdownHook(new Thread(() -> delete(folder), "laco-jcuda-folder"));
    System.setProperty(TEMPORARY, folder.toString());
  }

  /** Deletes the folder; a loaded library does not need its file. */
  private static void delete(Path folder) {
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    } catch (IOException e) {
      // The process is ending: what cannot be deleted stays.
    }
  }
}
