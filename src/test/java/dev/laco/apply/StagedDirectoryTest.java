package dev.laco.apply;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ResourceException;
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
    assertTrue(e.getMessage().contains("errno 2"), e.getMessage());
  }

  @Test
  void whereNamesCannotBeExchangedTwoStepsReplaceTheOldFolder() throws IOException {
    putOldTarget();
    try (StagedDirectory staged =
        StagedDirectory.create(target, true, warning -> {}, (a, b) -> false)) {
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
