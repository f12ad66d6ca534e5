package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Places where OUT, plan and report cannot go, found before the search; and volumes as OUT. */
class TargetPlaceTest {
  private static final String FIXTURE = "llama24_search";
  private static final Path MODEL = Fixtures.model(FIXTURE).toAbsolutePath();
  private static final Duration SOON = Duration.ofSeconds(60);

  @TempDir Path folder;
  private Path calibration;

  @BeforeEach
  void writeCalibration() {
    calibration = Fixtures.tokens(folder, FIXTURE, "calib");
  }

  @ParameterizedTest
  @CsvSource({
    "/proc/x, 4",
    "/proc/self/x/y, 4",
    "/sys/x, 4",
    "/dev/null/x, 2",
    "/, 2",
    "/proc, 4",
  })
  void aPlaceWhereNothingCanBeMadeIsSaidInOneLine(String out, int code) {
    ProgramRun run =
        assertTimeoutPreemptively(
            SOON, () -> Laco.run("prune", MODEL, out, "--calibration", calibration));
    assertEquals(code, run.code(), run.err());
    assertEquals(1, run.err().lines().count(), run.err());
    assertEquals("", run.out());
  }

  @Test
  void sideFilesThatCannotBeMadeAreSaidBeforeTheSearch() {
    for (String option : List.of("--plan", "--report")) {
      ProgramRun run =
          Laco.run(
              "prune", MODEL, folder.resolve("o"), "--calibration", calibration, option, "/proc/x");
      assertEquals(4, run.code(), run.err());
      assertTrue(run.err().startsWith("laco: " + option + " /proc/x: no file can be made"));
      assertEquals("", run.out());
    }
  }

  @Test
  void aWrongOptionIsSaidBeforeAWrongPlace() {
    ProgramRun run =
        Laco.run("prune", MODEL, "/proc/x", "--calibration", calibration, "--target-layers", 100);
    assertEquals(2, run.code(), run.err());
  }

  @Test
  void aDiskThatIsTooSmallIsSaidBeforeTheSearch() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    for (String[] options :
        new String[][] {{disk + "/out"}, {folder + "/o", "--plan", disk + "/p.json"}}) {
      ProgramRun run = mounted(disk, "64k", prune(options));
      assertEquals(4, run.code(), run.err());
      assertTrue(
          run.err().matches("laco: [^\\n]*: needs \\d+ bytes but \\d+ are free[^\\n]*\\n"),
          run.err());
      assertEquals("", run.out());
    }
  }

  @Test
  void aVolumeIsFilledInsideAndNotReplaced() throws Exception {
    Path plain = folder.resolve("plain");
    ProgramRun pruned = Laco.run(prune(plain.toString()).toArray());
    pruned.succeeded();
    Path plan = plain.resolve("laco_plan.json");
    Path volume = Files.createDirectory(folder.resolve("a volume"));
    // What a run that died while it moved its files left; and then a second run.
    ProgramRun run =
        mounted(
            volume,
            "64m",
            "mkdir lost+found .laco-0123.new; echo -n > .laco-0123.lock;"
                + " echo half > README.md; echo half > model.safetensors;"
                + " printf 'README.md\\nmodel.safetensors\\nconfig.json' > .laco-0123.files",
            List.of("apply", plan, MODEL, volume),
            "cp -r \"$PWD\" ../copy; rmdir ../copy/lost+found; \"$@\" --overwrite");
    assertEquals(2, run.code(), run.err());
    assertTrue(run.err().contains("is a mount point and not empty"), run.err());
    TestFiles.assertSameTree(plain, folder.resolve("copy"));
  }

  @Test
  void aFolderMountedInAnotherPlaceOfItsFileSystemIsAVolumeToo() throws Exception {
    Path other = Files.createDirectory(folder.resolve("other"));
    Path volume = Files.createDirectory(folder.resolve("bound"));
    ProgramRun run = unshared("mount --bind", other, volume, "", prune(volume.toString()), "");
    run.succeeded();
    assertTrue(Files.exists(other.resolve("config.json")));
    assertEquals(List.of(), TestFiles.names(volume));
  }

  @Test
  void twoDotsBehindALinkAreThoseOfTheSystem() throws IOException {
    Path inner = Files.createDirectories(folder.resolve("elsewhere/inner"));
    Path link = Files.createSymbolicLink(folder.resolve("link"), inner);
    Laco.run(prune(link.resolve("../small").toString()).toArray()).succeeded();
    assertTrue(Files.exists(folder.resolve("elsewhere/small/config.json")));
    assertTrue(Files.exists(folder.resolve("elsewhere/small.report.json")));
    assertFalse(Files.exists(folder.resolve("small")));
    assertFalse(Files.exists(folder.resolve("small.report.json")));
  }

  /** As file systems of clusters and of user space are; the library stands for such a one. */
  @Test
  void aFileSystemWithoutLocksIsSaidBeforeTheWork() throws Exception {
    Path source =
        Files.writeString(
            folder.resolve("no_locks.cpp"),
            """
            #include <cerrno>
            #include <cstdarg>
            #include <dlfcn.h>
            #include <fcntl.h>
            static int call(const char *name, int fd, int command, void *argument) {
              if (command == F_SETLK || command == F_SETLKW) {
                errno = ENOLCK;
                return -1;
              }
              return reinterpret_cast<int (*)(int, int, ...)>(dlsym(RTLD_NEXT, name))(fd, command, argument);
            }
            #define REPLACE(name)                               \\
              extern "C" int name(int fd, int command, ...) {   \\
                va_list rest;                                   \\
                va_start(rest, command);                        \\
                void *argument = va_arg(rest, void *);          \\
                va_end(rest);                                   \\
                return call(#name, fd, command, argument);      \\
              }
            REPLACE(fcntl)
            REPLACE(fcntl64)
            """);
    Path library = folder.resolve("no_locks.so");
    String compile = String.format(Locale.ROOT, "c++ -shared -fPIC -o '%s' '%s'", library, source);
    assumeTrue(
        new ProcessBuilder("sh", "-c", compile).inheritIO().start().waitFor() == 0,
        "no C++ compiler");
    Path place = Files.createDirectory(folder.resolve("place"));
    for (Object[] command :
        new Object[][] {
          prune(place.resolve("out").toString()).toArray(),
          prune(place.resolve("out.gguf").toString()).toArray(),
          {"eval", MODEL, "--tokens", calibration, "--html", place.resolve("page.html")},
        }) {
      ProcessBuilder builder = ProgramRun.java(Main.class, command);
      builder.environment().put("LD_PRELOAD", library.toString());
      ProgramRun run = ProgramRun.of(builder.start());
      assertEquals(4, run.code(), run.err());
      assertTrue(run.err().contains("no file can be locked in"), run.err());
      assertEquals("", run.out());
      assertEquals(List.of(), TestFiles.names(place));
    }
  }

  @Test
  void aNameThatIsNoTextInTheLocaleIsCopied() throws Exception {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    String licence = "LICENSE_$(printf '\\344\\270\\255').txt";
    shell("echo terms > \"" + licence + "\"", model);
    Path out = folder.resolve("out");
    for (int run = 0; run < 2; run++) {
      List<Object> command = new ArrayList<>(prune(out.toString()));
      command.set(1, model);
      command.add("--overwrite");
      ProcessBuilder builder = ProgramRun.java(Main.class, command.toArray());
      builder.environment().put("LC_ALL", "POSIX");
      ProgramRun.of(builder.start()).succeeded();
      shell("grep -q terms \"" + licence + "\"", out);
    }
  }

  private static void shell(String script, Path folder) throws Exception {
    Process process =
        new ProcessBuilder("sh", "-c", script).directory(folder.toFile()).inheritIO().start();
    assertEquals(0, process.waitFor(), script);
  }

  private List<Object> prune(String... options) {
    List<Object> command =
        new ArrayList<>(List.of("prune", MODEL, "--calibration", calibration, "--rule", "drop"));
    command.addAll(List.of("--threshold", 0.9));
    command.addAll(List.of(options));
    return command;
  }

  private ProgramRun mounted(Path disk, String size, List<Object> command) throws IOException {
    return mounted(disk, size, "", command, "");
  }

  /** Runs a command with a file system in memory at a folder, and scripts before and after. */
  private ProgramRun mounted(
      Path disk, String size, String before, List<Object> command, String after)
      throws IOException {
    return unshared(
        "mount -t tmpfs -o size=" + size, Path.of("tmpfs"), disk, before, command, after);
  }

  private ProgramRun unshared(
      String mount, Path what, Path where, String before, List<Object> command, String after)
      throws IOException {
    List<String> all = new ArrayList<>(List.of("unshare", "--mount"));
    if (!Files.isWritable(Path.of("/root"))) {
      all.addAll(List.of("--user", "--map-root-user"));
    }
    String script =
        String.format(
            Locale.ROOT,
            "%s '%s' '%s' || exit 99; cd '%s'; %s%n\"$@\" || exit; %s",
            mount,
            what,
            where,
            where,
            before,
            after);
    all.addAll(List.of("sh", "-c", script, "sh"));
    all.addAll(ProgramRun.java(Main.class, command.toArray()).command());
    return ProgramRun.of(new ProcessBuilder(all).start());
  }
}
