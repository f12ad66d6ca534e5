package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where oneDNN is unpacked on machines whose folders are not as they should be. */
class NativeLibrariesTest {
  private static final String FIXTURE = "llama_linear";
  private static final Path MODEL = Fixtures.model(FIXTURE).toAbsolutePath();
  private static final String NO_HOME = "-Duser.home=?";

  @TempDir Path folder;
  private Path here;
  private Path calibration;

  @BeforeEach
  void makeFolders() throws IOException {
    here = Files.createDirectory(folder.resolve("here"));
    calibration = Fixtures.tokens(folder, FIXTURE, "calib");
  }

  /** A search on the processor, which needs oneDNN and has nothing to tokenise. */
  private ProcessBuilder search(String... javaOptions) {
    ProcessBuilder builder =
        ProgramRun.java(
            Main.class,
            "prune",
            MODEL,
            "--dry-run",
            "--device",
            "cpu",
            "--calibration",
            calibration,
            "--eval-tokens",
            calibration,
            "--threshold",
            1);
    builder.environment().remove("XDG_CACHE_HOME");
    builder.command().addAll(builder.command().indexOf("-cp"), List.of(javaOptions));
    return builder.directory(here.toFile());
  }

  @Test
  void withoutAHomeNothingAppearsInTheWorkingFolder() throws Exception {
    Path temporary = Files.createDirectory(folder.resolve("tmp"));
    ProgramRun.of(search(NO_HOME, "-Djava.io.tmpdir=" + temporary).start()).succeeded();
    assertEquals(List.of(), TestFiles.names(here));
    assertEquals(List.of(), TestFiles.names(temporary));
  }

  @Test
  void theCacheOfTheEnvironmentIsUsed() throws Exception {
    Path cache = folder.resolve("new/cache");
    ProcessBuilder builder = search(NO_HOME);
    builder.environment().put("XDG_CACHE_HOME", cache.toString());
    ProgramRun.of(builder.start()).succeeded();
    assertEquals(List.of("laco"), TestFiles.names(cache));
  }

  @Test
  void aTemporaryFolderThatIsNoneIsOneLine() throws Exception {
    Path file = Files.createFile(folder.resolve("file"));
    ProgramRun run = ProgramRun.of(search(NO_HOME, "-Djava.io.tmpdir=" + file).start());
    assertRefused(run, "there is no home folder", file.toString());
  }

  @Test
  void aTemporaryFolderThatForbidsExecutionIsOneLine() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    ProgramRun run = onDisk(disk, "size=200m,noexec");
    assertRefused(run, disk.toString(), "failed to map segment");
  }

  @Test
  void aTemporaryFolderThatIsFullIsOneLine() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    ProgramRun run = onDisk(disk, "size=64k");
    assertRefused(run, disk.toString(), "No space left on device");
  }

  private static void assertRefused(ProgramRun run, String... reasons) {
    assertEquals(4, run.code(), run.err());
    String error = run.err().replaceFirst("^WARNING: java.io.tmpdir directory.*\\R", "");
    assertTrue(error.matches("laco: [^\\n]+\\n"), run.err());
    for (String reason : reasons) {
      assertTrue(error.contains(reason), error);
    }
    assertTrue(error.contains("takes 90 MB"), error);
    assertTrue(error.contains("set TMPDIR or XDG_CACHE_HOME"), error);
    assertFalse(run.out().contains("# A fatal error"), run.out());
  }

  /** With a file system of its own in memory, which goes away with the process. */
  private ProgramRun onDisk(Path disk, String options) throws Exception {
    List<String> command = new ArrayList<>(List.of("unshare", "--mount"));
    if (!Files.isWritable(Path.of("/root"))) {
      command.addAll(List.of("--user", "--map-root-user"));
    }
    String script =
        String.format(
            Locale.ROOT,
            "mount -t tmpfs -o %s,mode=700 tmpfs '%s' || exit; exec \"$@\"",
            options,
            disk);
    command.addAll(List.of("sh", "-c", script, "sh"));
    ProcessBuilder search = search(NO_HOME, "-Djava.io.tmpdir=" + disk);
    command.addAll(search.command());
    return ProgramRun.of(search.command(command).start());
  }
}
