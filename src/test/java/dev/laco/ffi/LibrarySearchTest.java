package dev.laco.ffi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ResourceException;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class LibrarySearchTest {
  private static final String PROPERTY = "laco.native.wanted";
  private static final String OPEN_MP = "/org/bytedeco/dnnl/linux-x86_64/libgomp.so.1";

  @AfterEach
  void clear() {
    System.clearProperty(PROPERTY);
  }

  @Test
  void takesTheFirstPlaceThatHasIt() {
    NativeLibrary library =
        new LibrarySearch("wanted").soname("libabsent.so.9").soname("libc.so.6").load();
    assertEquals("libc.so.6", library.location());
    assertTrue(library.function("strlen").address() != 0);
  }

  @Test
  void fallsBackToTheOpenMpThatComesWithTheJarWhereTheSystemHasNone() {
    NativeLibrary library =
        new LibrarySearch("wanted").soname("libabsent.so.1").resource(OPEN_MP).load();
    assertTrue(library.location().endsWith("libgomp.so.1"), library.location());
    assertTrue(library.function("omp_get_max_threads").address() != 0);
  }

  @Test
  void listsEveryPlaceAndWhyItFailed() {
    LibrarySearch search =
        new LibrarySearch("wanted")
            .resource("/no/such/resource.so")
            .file(Path.of("/etc/hostname"))
            .soname("libabsent.so.9");
    String message = assertThrows(ResourceException.class, search::load).getMessage();
    assertTrue(message.contains("/no/such/resource.so: not in the class path"), message);
    assertTrue(message.contains("/etc/hostname: "), message);
    assertTrue(message.contains("libabsent.so.9: cannot open shared object file"), message);
    assertTrue(message.contains("-D" + PROPERTY + "=FILE"), message);
  }

  @Test
  void neverLooksElsewhereWhenTheOverrideIsWrong() {
    System.setProperty(PROPERTY, "/nowhere/libc.so.6");
    LibrarySearch search = new LibrarySearch("wanted").soname("libc.so.6");
    String message = assertThrows(ResourceException.class, search::load).getMessage();
    assertTrue(message.contains("/nowhere/libc.so.6"), message);
  }

  @Test
  void namesTheFunctionThatALibraryLacks() {
    NativeLibrary library = new LibrarySearch("wanted").soname("libc.so.6").load();
    String message =
        assertThrows(ResourceException.class, () -> library.function("laco_absent")).getMessage();
    assertEquals("libc.so.6 has no function laco_absent: it is of another version", message);
  }
}
