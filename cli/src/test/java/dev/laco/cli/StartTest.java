package dev.laco.cli;

import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How the launchers start the JVM: {@code scripts/common.sh}. */
class StartTest {
  @TempDir Path folder;
  private Path here;

  @BeforeEach
  void makeFolder() throws IOException {
    here = Files.createDirectory(folder.resolve("here"));
  }

  /** What a launcher does, in a shell that has run {@code setup}, to say the engine's version. */
  private ProcessBuilder start(String setup, Class<?> main) {
    return start(setup, main, "--version");
  }

  private ProcessBuilder start(String setup, Class<?> main, String... arguments) {
    String script =
        setup + "\nset -euo pipefail\nsource \"$1\"\njava_command \"$2\"\nbecome_java \"${@:3}\"";
    ProcessBuilder builder =
        new ProcessBuilder(
            "bash",
            "-c",
            script,
            "bash",
            Path.of("scripts/common.sh").toAbsolutePath().toString(),
            System.getProperty("java.class.path"),
            main.getName());
    builder.command().addAll(List.of(arguments));
    builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
    builder.environment().put("TMPDIR", folder.toString());
    builder.environment().put("XDG_CACHE_HOME", folder.resolve("cache").toString());
    builder.environment().keySet().removeAll(List.of("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"));
    return builder.directory(here.toFile());
  }

  @Test
  void startsTheEngine() throws Exception {
    assertTrue(ProgramRun.of(start("", Main.class).start()).succeeded().out().startsWith("laco "));
    ProgramRun.of(start("LACO_JAVA_OPTIONS=-Xmx128m", Main.class).start()).succeeded();
  }

  @Test
  void anOptionThatTheJvmRefusesIsOneLine() throws Exception {
    ProgramRun run = ProgramRun.of(start("LACO_JAVA_OPTIONS=-Xmx1x", Main.class).start());
    assertRefused(run, "laco: Java does not start: Invalid maximum heap size: -Xmx1x ");
    run = ProgramRun.of(start("export JAVA_TOOL_OPTIONS=-XX:+NoSuch", Main.class).start());
    assertRefused(run, "laco: Java does not start: Unrecognized VM option 'NoSuch' ");
  }

  @Test
  void tooLittleAddressSpaceIsOneLine() throws Exception {
    ProgramRun run = ProgramRun.of(start("ulimit -v 400000", Main.class).start());
    assertRefused(run, "laco: Java does not start: ");
    assertTrue(run.err().contains("ulimit -v: 400000"), run.err());
  }

  @Test
  void tooFewOpenFilesAreOneLineWithTheNumber() throws Exception {
    ProgramRun run = ProgramRun.of(start("ulimit -n 20", Main.class).start());
    assertRefused(run, "laco: may open 20 files only, and needs 64 at least: ulimit -n 64");
  }

  @Test
  void aModelOfMoreFilesThanCanBeOpenedIsOneLineWithTheNumber() throws Exception {
    Path many = folder.resolve("many");
    String fixture = "llama24_search";
    Laco.run(
            "prune",
            Fixtures.model(fixture),
            many,
            "--calibration",
            Fixtures.tokens(folder, fixture, "calib"),
            "--device",
            "reference",
            "--threshold",
            1,
            "--max-shard-size",
            "10KB")
        .succeeded();
    long shards =
        TestFiles.names(many).stream().filter(name -> name.endsWith(".safetensors")).count();
    assertTrue(shards > 100, shards + " shards");
    long needed = 2 * shards + 100;
    ProgramRun run = inspect(many, shards + 20);
    assertRefused(run, String.format(Locale.ROOT, "laco: %s: has %d weight files; ", many, shards));
    assertTrue(
        run.err()
            .endsWith(
                String.format(Locale.ROOT, "may open %d: ulimit -n %d\n", shards + 20, needed)),
        run.err());
    inspect(many, needed).succeeded();
  }

  private ProgramRun inspect(Path model, long openFiles) throws IOException {
    return ProgramRun.of(
        start("ulimit -n " + openFiles, Main.class, "inspect", model.toString()).start());
  }

  private static void assertRefused(ProgramRun run, String begin) {
    assertEquals(4, run.code(), run.err());
    assertEquals("", run.out());
    assertTrue(run.err().matches("[^\\n]+\\n"), run.err());
    assertTrue(run.err().startsWith(begin), run.err());
  }

  /** Ends in the way of a bug in native code, behind a result. */
  static final class Crash {
    private Crash() {}

    public static void main(String[] args) {
      PrintWriter out = StandardOutput.claim();
      out.println("result");
      out.flush();
      MemorySegment.ofAddress(64).reinterpret(Long.BYTES).get(JAVA_LONG, 0);
    }
  }

  @Test
  void aCrashIsWrittenDownInAFolderOfTheCallersOwn() throws Exception {
    assertCrash();
    List<String> written = TestFiles.names(folder.resolve("cache/laco"));
    assertEquals(1, written.size());
    assertTrue(written.getFirst().matches("crash_\\d+\\.log"), written.getFirst());
    assertEquals(List.of(), TestFiles.names(here));
    assertEquals(List.of("cache", "here"), TestFiles.names(folder));
  }

  @Test
  void aCrashFileIsNotWrittenWhereOthersCanPutALink() throws Exception {
    Path elsewhere = Files.createDirectory(folder.resolve("elsewhere"));
    Path cache = Files.createDirectory(folder.resolve("cache"));
    Files.createSymbolicLink(cache.resolve("laco"), elsewhere);
    assertCrash();
    assertEquals(List.of(), TestFiles.names(elsewhere));
    Files.delete(cache.resolve("laco"));
    Path shared = Files.createDirectory(cache.resolve("laco"));
    Files.setAttribute(shared, "unix:mode", 01777);
    assertCrash();
    assertEquals(List.of(), TestFiles.names(shared));
    assertEquals(List.of(), TestFiles.names(here));
    assertFalse(TestFiles.names(folder).stream().anyMatch(name -> name.contains("crash")));
  }

  private void assertCrash() throws IOException {
    ProgramRun run = ProgramRun.of(start("", Crash.class).start());
    assertEquals("result\n", run.out());
    assertCrash(run.code(), run.err());
  }

  private static void assertCrash(int code, String err) {
    assertTrue(err.contains("A fatal error has been detected") && err.contains("SIGSEGV"), err);
    assertEquals(1, code, err);
  }

  @Test
  void aSearchThatCrashesLeavesItsLinesAloneOnStandardOutput() throws Exception {
    String fixture = "llama24_search";
    Process process =
        start(
                "",
                Main.class,
                "prune",
                Fixtures.model(fixture).toAbsolutePath().toString(),
                "--dry-run",
                "--calibration",
                Fixtures.tokens(folder, fixture, "calib").toString(),
                "--threshold",
                "0.5",
                "--device",
                "reference")
            .start();
    BufferedReader lines = process.inputReader();
    String line = lines.readLine();
    while (line != null && !line.matches(".*(accepted|rejected).*")) {
      line = lines.readLine();
    }
    new ProcessBuilder("kill", "-SEGV", Long.toString(process.pid())).start().waitFor();
    for (String rest : lines.lines().toList()) {
      assertTrue(rest.matches(".*(accepted|rejected).*"), rest);
    }
    String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
    assertCrash(process.waitFor(), err);
    assertTrue(err.contains(folder.resolve("cache/laco") + "/crash_" + process.pid()), err);
    assertEquals(List.of(), TestFiles.names(here));
  }
}
