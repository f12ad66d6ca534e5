package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ResourceException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The folder that JCuda unpacks its libraries into. */
class JcudaLibrariesTest {
  private static final String TEMPORARY = "java.io.tmpdir";

  private final String before = System.getProperty(TEMPORARY);
  private final List<Path> seen = new ArrayList<>();
  @TempDir Path folder;

  @AfterEach
  void restore() {
    System.setProperty(TEMPORARY, before);
  }

  private void load() {
    JcudaLibraries.load("JCuda", () -> seen.add(Path.of(System.getProperty(TEMPORARY))));
  }

  @Test
  void isNewAndGoneAgain() {
    System.setProperty(TEMPORARY, folder.toString());
    load();
    load();
    assertEquals(2, seen.stream().distinct().count());
    assertTrue(seen.stream().allMatch(path -> path.startsWith(folder)));
    assertFalse(seen.stream().anyMatch(Files::exists));
    assertEquals(folder.toString(), System.getProperty(TEMPORARY));
  }

  @Test
  void isNotMadeWhereOthersCanRenameIt() throws Exception {
    Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
    assertRefused(folder);
  }

  @Test
  void thatCannotBeMadeIsOneLine() throws Exception {
    assertRefused(Files.createFile(folder.resolve("file")));
  }

  private void assertRefused(Path temporary) {
    System.setProperty(TEMPORARY, temporary.toString());
    String message = assertThrows(ResourceException.class, this::load).getMessage();
    assertTrue(message.startsWith("JCuda does not load from a folder in " + temporary), message);
    assertTrue(message.contains("set TMPDIR"), message);
    assertEquals(1, message.lines().count());
    assertEquals(List.of(), seen);
  }
}
