package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.ResourceException;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The folder that JCuda unpacks its libraries into: the host's {@code java.io.tmpdir}. */
class JcudaLibrariesTest {
  private static final String TEMPORARY = "java.io.tmpdir";

  private final String before = System.getProperty(TEMPORARY);
  private final List<String> seen = new ArrayList<>();
  @TempDir Path folder;

  @AfterEach
  void restore() {
    System.setProperty(TEMPORARY, before);
  }

  private void load() {
    JcudaLibraries.load("JCuda", () -> seen.add(System.getProperty(TEMPORARY)));
  }

  @Test
  void isThatOfTheProcess() {
    System.setProperty(TEMPORARY, folder.toString());
    load();
    assertEquals(List.of(folder.toString()), seen);
  }

  @ParameterizedTest
  @ValueSource(strings = {"rwxrwxrwx", "rwxrwx---", "rwx----w-"})
  void thatOthersCanWriteToIsRefused(String permissions) throws IOException {
    Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString(permissions));
    assertRefused(folder, "others can write to it");
  }

  @Test
  void ofManyUsersIsRefused() throws IOException {
    Path temporary = Path.of("/tmp");
    assumeTrue(
        ((int) Files.getAttribute(temporary, "unix:mode") & 07777) == 01777, "/tmp is not usual");
    assertRefused(temporary, "others can write to it");
  }

  @Test
  void ofAnotherUserIsRefused() throws IOException {
    assumeTrue((int) Files.getAttribute(folder, "unix:uid") == 0, "needs root");
    Files.setAttribute(folder, "unix:uid", 12_345);
    assertRefused(folder, "belongs to another user");
  }

  @Test
  void thatIsNoFolderIsRefused() throws IOException {
    assertRefused(Files.createFile(folder.resolve("file")), "is no folder");
    assertRefused(folder.resolve("missing"), "missing");
  }

  private void assertRefused(Path temporary, String why) {
    System.setProperty(TEMPORARY, temporary.toString());
    String message = assertThrows(ResourceException.class, this::load).getMessage();
    assertTrue(
        message.startsWith("JCuda does not load from java.io.tmpdir, which is " + temporary + ": "),
        message);
    assertTrue(message.contains(why), message);
    assertTrue(message.contains("-Djava.io.tmpdir=FOLDER"), message);
    assertEquals(1, message.lines().count());
    assertEquals(List.of(), seen);
  }

  @Test
  @OnStandIn
  void aHostKeepsItsOwn() throws IOException {
    Path temporary = Files.createDirectory(folder.resolve("own"));
    assertEquals("", host(temporary));
    assertTrue(
        TestFiles.names(temporary).stream().anyMatch(name -> name.startsWith("libJCudaDriver")));
  }

  @Test
  @OnStandIn
  void aHostIsToldWhatToSet() throws IOException {
    Path temporary = Files.createDirectory(folder.resolve("shared"));
    Files.setPosixFilePermissions(temporary, PosixFilePermissions.fromString("rwxrwxrwx"));
    String out = host(temporary);
    assertTrue(out.matches("JCuda's driver binding does not load .*cudaBinding ffm.*\\R"), out);
    assertEquals(List.of(), TestFiles.names(temporary));
  }

  /** What a host prints that has its own temporary folder. */
  private String host(Path temporary) throws IOException {
    String fixture = "llama_tied_rope3";
    ProcessBuilder host =
        ProgramRun.java(
            JcudaHostRun.class, Fixtures.model(fixture), Fixtures.tokens(folder, fixture, "calib"));
    List<String> more = new ArrayList<>(List.of("-D" + TEMPORARY + "=" + temporary));
    for (String property : EmulatedDevice.PROPERTIES) {
      String value = System.getProperty(property);
      if (value != null) {
        more.add("-D" + property + "=" + value);
      }
    }
    host.command().addAll(host.command().indexOf("-cp"), more);
    ProgramRun run = ProgramRun.of(host.start()).succeeded();
    assertEquals("", run.err());
    return run.out();
  }
}
