package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.ffi.PrivateFolder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Loads JCuda's native libraries. JCuda unpacks them under fixed names into {@code java.io.tmpdir},
 * and loads whatever file of such a name lies there already. The property belongs to the process,
 * and JCuda has no setting of its own. Therefore JCuda is used only where no other user can write
 * to the folder.
 */
final class JcudaLibraries {
  private static final String TEMPORARY = "java.io.tmpdir";

  private JcudaLibraries() {}

  /**
   * Makes JCuda load the library that {@code firstUse} needs.
   *
   * @throws ResourceException if others can write to {@code java.io.tmpdir}, or the library does
   *     not load from there; JCuda then throws {@link UnsatisfiedLinkError} once and {@link
   *     NoClassDefFoundError} ever after
   */
  static synchronized void load(String what, Runnable firstUse) {
    String temporary = System.getProperty(TEMPORARY);
    try {
      PrivateFolder.require(Path.of(temporary));
      firstUse.run();
    } catch (IOException | LinkageError e) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s does not load from %s, which is %s: %s; start Java with -D%s=FOLDER, a folder of your own that allows execution, or use %s ffm, which needs no library of its own",
              what,
              TEMPORARY,
              temporary,
              firstLine(e),
              TEMPORARY,
              Setting.of("cudaBinding")),
          e);
    }
  }

  /** The first line of a message; JCuda's messages contain stack traces after it. */
  private static String firstLine(Throwable e) {
    return e.toString().lines().findFirst().orElseThrow();
  }
}
