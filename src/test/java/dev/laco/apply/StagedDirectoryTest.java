package dev.laco.apply;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ResourceException;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StagedDirectoryTest {
  /** What makes a folder one that may be replaced. */
  private static final String FILE = "laco_plan.json";

  @TempDir Path folder;
  private Path target;

  @BeforeEach
  void nameTheTarget() {
    target = folder.resolve("target");
  }

  @Test
  void nothingHasTheNameUntilTheCommit() throws IOException {
    try (StagedDirectory staged = StagedDirectory.create(target, false, warning -> {})) {
      Files.writeString(staged.path().resolve(FILE), "new");
      assertFalse(Files.exists(target));
      staged.commit();
    }
    assertTarget("new");
  }

  @Test
  void whatIsNotCommittedIsRemovedWithTheParentsMadeForIt() throws IOException {
    try (StagedDirectory staged =
        StagedDirectory.create(folder.resolve("a/b/c"), false, warning -> {})) {
      Files.createDirectories(staged.path().resolve("deep/er"));
      Files.createSymbolicLink(staged.path().resolve("link"), Path.of("/etc"));
    }
    assertEquals(List.of(), names());
    assertTrue(Files.exists(Path.of("/etc")));
  }

  @Test
  void twoNamesAreExchangedInOneStep() throws IOException {
    Path one = Files.createDirectory(folder.resolve("one"));
    Path other = Files.createDirectory(folder.resolve("other"));
    Files.writeString(one.resolve(FILE), "1");
    assertTrue(DirectoryExchange.exchange(one, other));
    assertEquals("1", Files.readString(other.resolve(FILE)));
    assertFalse(Files.exists(one.resolve(FILE)));
    var e =
        assertThrows(
            IOException.class, () -> DirectoryExchange.exchange(one, folder.resolve("absent")));
    assertTrue(e.getMessage().contains("No such file or directory"), e.getMessage());
  }

  @Test
  void whereNamesCannotBeExchangedTwoStepsReplaceTheOldFolder() throws IOException {
    putOldTarget();
    try (StagedDirectory staged =
        StagedDirectory.create(target, false, true, warning -> {}, (a, b) -> false)) {
      Files.writeString(staged.path().resolve(FILE), "new");
      staged.commit();
    }
    assertTarget("new");
  }

  @Test
  void theOldFolderComesBackWhenTheSecondStepFails() throws IOException {
    putOldTarget();
    try (StagedDirectory staged =
        StagedDirectory.create(
            target,
            false,
            true,
            warning -> {},
            (ours, theirs) -> {
              Files.delete(ours);
              return false;
            })) {
      assertThrows(ResourceException.class, staged::commit);
      assertFalse(Files.exists(target));
    }
    assertTarget("old");
  }

  @Test
  void aTargetThatCameToHoldFilesIsNotReplacedUnasked() throws IOException {
    try (StagedDirectory staged = StagedDirectory.create(target, false, warning -> {})) {
      Files.writeString(staged.path().resolve(FILE), "new");
      putOldTarget();
      assertThrows(UsageException.class, staged::commit);
    }
    assertTarget("old");
  }

  @Test
  void aParentThatIsAFileIsNamed() throws IOException {
    Files.writeString(target, "x");
    var e =
        assertThrows(
            ResourceException.class,
            () -> StagedDirectory.create(target.resolve("below"), false, warning -> {}));
    assertTrue(e.getMessage().startsWith(target.resolve("below").toString()), e.getMessage());
    assertEquals(List.of("target"), names());
  }

  private StagedDirectory inside() {
    return StagedDirectory.create(target, true, false, warning -> {}, DirectoryExchange::exchange);
  }

  @Test
  void aMountPointIsFilledInsideAndKeptWhatTheSystemHasThere() throws IOException {
    Files.createDirectories(target.resolve("lost+found"));
    try (StagedDirectory staged = inside()) {
      Files.writeString(staged.path().resolve(FILE), "new");
      Files.writeString(staged.path().resolve("config.json"), "{}");
      assertFalse(Files.exists(target.resolve(FILE)));
      staged.commit();
    }
    assertEquals(List.of("config.json", FILE, "lost+found"), TestFiles.names(target));
    assertEquals(List.of("target"), names());
  }

  @Test
  void aMountPointThatIsNotFilledStaysEmpty() throws IOException {
    Files.createDirectory(target);
    try (StagedDirectory staged = inside()) {
      Files.writeString(staged.path().resolve(FILE), "new");
    }
    assertEquals(List.of(), TestFiles.names(target));
    try (StagedDirectory staged = inside()) {
      // A folder of the name of a file cannot be replaced by it: some were moved before.
      Files.writeString(staged.path().resolve("a"), "new");
      Files.createDirectory(staged.path().resolve("lost+found"));
      Files.createDirectories(target.resolve("lost+found/x"));
      assertThrows(ResourceException.class, staged::commit);
    }
    assertEquals(List.of("lost+found"), TestFiles.names(target));
  }

  @Test
  void aMountPointThatCameToHoldFilesIsLeftAlone() throws IOException {
    Files.createDirectory(target);
    try (StagedDirectory staged = inside()) {
      Files.writeString(staged.path().resolve(FILE), "new");
      Files.writeString(target.resolve(FILE), "old");
      assertThrows(UsageException.class, staged::commit);
    }
    assertTarget("old");
  }

  @Test
  void whatADeadRunHadMovedIntoAMountPointIsRemoved() throws IOException {
    Files.createDirectories(target.resolve(".laco-0123.new"));
    Files.writeString(target.resolve(".laco-0123.new/config.json"), "{}");
    Files.writeString(target.resolve(".laco-0123.lock"), "");
    Files.writeString(target.resolve(".laco-0123.files"), "a\nb\nconfig.json");
    Files.writeString(target.resolve("a"), "half");
    Files.writeString(target.resolve("other"), "kept");
    inside().close();
    assertEquals(List.of("other"), TestFiles.names(target));
  }

  @Test
  void aListOfOtherFilesThanThoseBesideItIsNotBelieved() throws IOException {
    Files.createDirectory(target);
    Files.writeString(folder.resolve("a"), "kept");
    Files.createDirectory(target.resolve("folder"));
    for (String list : List.of("../a", folder.resolve("a").toString(), "folder", "..", "a\0")) {
      Files.writeString(target.resolve(".laco-0123.lock"), "");
      Files.writeString(target.resolve(".laco-0123.files"), list);
      inside().close();
      assertEquals(
          List.of(".laco-0123.files", ".laco-0123.lock", "folder"), TestFiles.names(target), list);
    }
    assertTrue(Files.exists(folder.resolve("a")));
  }

  private void putOldTarget() throws IOException {
    Files.createDirectory(target);
    Files.writeString(target.resolve(FILE), "old");
  }

  private void assertTarget(String content) throws IOException {
    assertEquals(content, Files.readString(target.resolve(FILE)));
    assertEquals(List.of("target"), names());
  }

  private List<String> names() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }
}
