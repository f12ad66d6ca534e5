package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.HashMap;
import java.util.Map;

/** Which libraries a test finds, by the properties that name them. */
final class Libraries {
  private final Map<String, String> found = new HashMap<>();

  /**
   * Names another file. On a machine whose libraries are found by themselves the test is skipped.
   */
  void set(String library, String file) {
    String property = "laco.native." + library;
    String now = System.getProperty(property);
    assumeTrue(now != null, "needs the emulated device");
    found.putIfAbsent(property, now);
    System.setProperty(property, file);
  }

  /** Names none, so that the library is looked for. */
  void search(String library) {
    set(library, "");
    System.clearProperty("laco.native." + library);
  }

  /** Takes the stand-in of another major version. */
  void take(String library, int major) {
    String now = String.valueOf(System.getProperty("laco.native." + library));
    set(library, now.replaceFirst("\\.so\\.\\d+$", ".so." + major));
  }

  /** As it was. */
  void restore() {
    found.forEach(System::setProperty);
  }
}
