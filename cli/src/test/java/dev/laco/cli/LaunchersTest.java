package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The launchers find what is theirs through links and in folders of any name. */
class LaunchersTest {
  private static final Path SCRIPTS = Path.of("scripts").toAbsolutePath();

  /** Says what it was started with, and whether its class path is there. */
  private static final String JAVA =
      """
      #!/bin/bash
      while (($#)); do
        [[ $1 != -cp ]] || cp=$2
        last=$1
        shift
      done
      echo "$last"
      IFS=:
      set -f
      for entry in $cp; do
        [[ -d ${entry%/*} ]] && echo there || echo "no folder ${entry%/*}"
      done
      """;

  @TempDir Path folder;

  /** An archive whose Java is the one above. */
  private Path archive(String name) throws IOException {
    Path home = Files.createDirectories(folder.resolve(name));
    Path library = Files.createDirectory(home.resolve("lib"));
    Path programs = Files.createDirectory(home.resolve("bin"));
    Path java = Files.createDirectories(home.resolve("runtime/bin")).resolve("java");
    Files.copy(SCRIPTS.resolve("common.sh"), library.resolve("common.sh"));
    Files.copy(SCRIPTS.resolve("bundle/start.sh"), library.resolve("start.sh"));
    Files.writeString(library.resolve("glibc"), "2.17\n");
    Files.copy(SCRIPTS.resolve("bundle/laco"), programs.resolve("laco"));
    Files.writeString(java, JAVA);
    assertTrue(programs.resolve("laco").toFile().setExecutable(true));
    assertTrue(java.toFile().setExecutable(true));
    return home;
  }

  @ParameterizedTest
  @ValueSource(strings = {"plain", "with a blank", "with*a?star", "with:a:colon", "all: of *them"})
  void theArchiveRunsFromAnyFolder(String name) throws Exception {
    Path temporary = Files.createDirectory(folder.resolve("tmp"));
    ProgramRun run = run(Map.of("TMPDIR", temporary.toString()), archive(name).resolve("bin/laco"));
    assertEquals("--version\nthere\n", run.out(), run.err());
    assertEquals(0, run.code());
    // The copy that a colon needs goes when the program has ended.
    for (int i = 0; i < 300 && !TestFiles.names(temporary).isEmpty(); i++) {
      Thread.sleep(100);
    }
    assertEquals(List.of(), TestFiles.names(temporary));
  }

  @Test
  void theArchiveRunsThroughLinks() throws Exception {
    Path home = archive("archive");
    Path absolute = Files.createSymbolicLink(folder.resolve("absolute"), home.resolve("bin/laco"));
    Path elsewhere = Files.createDirectory(folder.resolve("elsewhere"));
    Path relative =
        Files.createSymbolicLink(elsewhere.resolve("relative"), Path.of("../archive/bin/laco"));
    Path twice = Files.createSymbolicLink(folder.resolve("twice"), Path.of("elsewhere/relative"));
    for (Path link : List.of(absolute, relative, twice)) {
      assertEquals("--version\nthere\n", run(Map.of(), link).out(), link.toString());
    }
  }

  @Test
  void aFolderThatNothingCanBeCopiedOutOfIsNamed() throws Exception {
    Path temporary = Files.createDirectory(folder.resolve("t:mp"));
    ProgramRun run =
        run(Map.of("TMPDIR", temporary.toString()), archive("a:b").resolve("bin/laco"));
    assertEquals(4, run.code(), run.out());
    assertTrue(run.err().startsWith("laco: Java runs neither from "), run.err());
  }

  /** make takes a colon for the end of a name. */
  @Test
  void theRepositoryIsNotBuiltWhereItsPathHasAColon() throws Exception {
    Path home = Files.createDirectory(folder.resolve("re:pository"));
    Path scripts = Files.createDirectory(home.resolve("scripts"));
    for (String script : List.of("common.sh", "toolchain.sh", "launcher.sh")) {
      Files.copy(SCRIPTS.resolve(script), scripts.resolve(script));
    }
    Path laco = Files.copy(Path.of("laco"), home.resolve("laco"));
    assertTrue(laco.toFile().setExecutable(true));
    ProgramRun run = run(Map.of(), laco);
    assertEquals(4, run.code(), run.out());
    assertTrue(run.err().contains(" has a colon in its path, "), run.err());
    assertFalse(Files.exists(home.resolve("target")));
  }

  private ProgramRun run(Map<String, String> environment, Path program) throws IOException {
    ProcessBuilder process = new ProcessBuilder(program.toString(), "--version");
    process.directory(folder.toFile()).environment().putAll(environment);
    return ProgramRun.of(process.start());
  }
}
