package dev.laco.apply;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Lock files beside OUT that no run of ours left, or that are damaged: nothing is done to them. */
class StaleLocksTest {
  private static final String LOCK = ".laco-0123.lock";
  private static final String NEW = ".laco-0123.new";
  private static final String OLD = ".laco-0123.old";

  @TempDir Path folder;
  private Path parent;

  @BeforeEach
  void makeParent() throws IOException {
    parent = Files.createDirectory(folder.resolve("parent"));
  }

  /** Writes a folder beside whatever else is there, and returns the warnings. */
  private List<String> write() throws IOException {
    List<String> warnings = new ArrayList<>();
    try (StagedDirectory staged =
        StagedDirectory.create(parent.resolve("out"), false, warnings::add)) {
      staged.commit();
    }
    assertTrue(Files.isDirectory(parent.resolve("out")));
    return warnings;
  }

  private void assertPassedOver(String reason) throws IOException {
    List<String> before = TestFiles.names(parent);
    List<String> warnings = write();
    assertEquals(1, warnings.size(), warnings::toString);
    String warning = warnings.getFirst();
    assertTrue(warning.startsWith(parent.resolve(LOCK) + ": "), warning);
    assertTrue(warning.contains(reason), warning);
    assertTrue(warning.contains("can be deleted by hand"), warning);
    assertEquals(1, warning.lines().count(), warning);
    List<String> after = new ArrayList<>(TestFiles.names(parent));
    after.remove("out");
    assertEquals(before, after);
  }

  private void lock(String contents) throws IOException {
    Files.writeString(parent.resolve(LOCK), contents, ISO_8859_1);
    Files.createDirectory(parent.resolve(OLD));
    Files.writeString(parent.resolve(OLD).resolve("file"), "old");
  }

  /** A run that is killed while it finds out whether a folder can be written leaves such a file. */
  @Test
  void theEmptyFileOfATrialIsRemovedAndNothingElseOfThatName() throws IOException {
    Files.createFile(parent.resolve(".laco-123.tmp"));
    Files.writeString(parent.resolve(".laco-124.tmp"), "not ours");
    Files.createFile(parent.resolve(".laco-abc.tmp"));
    assertEquals(List.of(), write());
    assertEquals(List.of(".laco-124.tmp", ".laco-abc.tmp", "out"), TestFiles.names(parent));
    Files.createSymbolicLink(parent.resolve(".laco-125.tmp"), folder.resolve("precious"));
    Files.delete(parent.resolve("out"));
    List<String> warnings = write();
    assertTrue(
        warnings.getFirst().contains(".laco-125.tmp is not a regular file"), warnings::toString);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "..",
        ".",
        "../moved",
        "a/b",
        "/tmp/laco-moved",
        "\0",
        "a\0b",
        "a\nb",
        "\u001b[2Jx",
        "\u00ff\u00fe",
        "/"
      })
  void whatIsNoPlainNameMovesNothing(String contents) throws IOException {
    lock(contents);
    assertPassedOver("does not hold the name of a folder");
    assertEquals(List.of("parent"), TestFiles.names(folder));
  }

  @Test
  void anAbsoluteNameMovesNothing() throws IOException {
    lock(folder.resolve("elsewhere").toString());
    assertPassedOver("does not hold the name of a folder");
    assertEquals(List.of("parent"), TestFiles.names(folder));
  }

  @Test
  void whatAPowerLossLeavesIsNoName() throws IOException {
    lock("\0".repeat(4096));
    assertPassedOver("does not hold the name of a folder");
  }

  @Test
  void aFolderInThePlaceOfTheLockIsPassedOver() throws IOException {
    Files.createDirectory(parent.resolve(LOCK));
    assertPassedOver("is not a regular file");
  }

  @Test
  void aLinkInThePlaceOfTheLockIsNotFollowed() throws IOException {
    Path precious = Files.writeString(folder.resolve("precious"), "name");
    Files.createSymbolicLink(parent.resolve(LOCK), precious);
    assertPassedOver("is not a regular file");
    assertEquals("name", Files.readString(precious));
  }

  @ParameterizedTest
  @ValueSource(strings = {NEW, OLD})
  void aLinkInThePlaceOfAFolderIsNotFollowed(String name) throws IOException {
    Path precious = Files.createDirectory(folder.resolve("precious"));
    Files.writeString(precious.resolve("thesis"), "x");
    Files.writeString(parent.resolve(LOCK), "victim");
    Files.createSymbolicLink(parent.resolve(name), precious);
    assertPassedOver(name + " is not a folder");
    assertEquals(List.of("thesis"), TestFiles.names(precious));
  }

  @ParameterizedTest
  @ValueSource(strings = {LOCK, NEW, OLD})
  void whatIsAnotherUsersIsPassedOver(String name) throws IOException {
    lock("victim");
    Files.createDirectory(parent.resolve(NEW));
    giveAway(parent.resolve(name));
    assertPassedOver(name + " is another user's");
  }

  private static void giveAway(Path path) throws IOException {
    Object uid = Files.getAttribute(path, "unix:uid", LinkOption.NOFOLLOW_LINKS);
    assumeTrue(uid.equals(0), "only root gives files away");
    Files.setAttribute(path, "unix:uid", 65534, LinkOption.NOFOLLOW_LINKS);
  }

  @Test
  void aNameThatNoRunGivesIsNoLock() throws IOException {
    Path file = Files.writeString(parent.resolve(".laco-a\u001b[2J.lock"), "x");
    assertEquals(List.of(), write());
    assertTrue(Files.exists(file));
  }

  @Test
  void linksInsideALeftFolderAreRemovedAndNotFollowed() throws IOException {
    Path precious = Files.createDirectory(folder.resolve("precious"));
    Files.writeString(precious.resolve("thesis"), "x");
    Files.writeString(parent.resolve(LOCK), "victim");
    Files.createDirectories(parent.resolve(NEW).resolve("deep"));
    Files.createSymbolicLink(parent.resolve(NEW).resolve("deep/link"), precious);
    assertEquals(List.of(), write());
    assertEquals(List.of("out"), TestFiles.names(parent));
    assertEquals(List.of("thesis"), TestFiles.names(precious));
  }
}
