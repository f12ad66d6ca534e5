package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What reaches the terminal, whatever stands in files and whatever goes wrong. */
@Timeout(120)
class TerminalTest {
  private static final String ESCAPE = "\u001b";

  /** Stands for a file of token lists. */
  private static final String IDS = "IDS";

  @TempDir Path folder;

  @Test
  void anArgumentThatBeginsWithAnAtSignIsNoFile() {
    Path options = TestFiles.write(folder.resolve("options"), "--bogus");
    ProgramRun run =
        Laco.run(
            "generate",
            Fixtures.STORYTELLER,
            "--prompt",
            "@" + options,
            "--max-tokens",
            1,
            "--json");
    assertEquals("@" + options, run.succeeded().json().get("prompt").asText());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"\u001b[2J", "\nlaco: done", "\r", "\u009b2J", "\u007f", "\u202e", "\u2028x"})
  void namesFromFilesNeitherSteerTheTerminalNorForgeLines(String attack) {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("model"));
    String name = "Evil" + attack + "ForCausalLM";
    TestCheckpoints.edit(
        model.resolve("config.json"),
        c -> c.replace("LlamaForCausalLM", "Evil" + json(attack) + "ForCausalLM"));
    ProgramRun prune = Laco.run("prune", model, "--dry-run");
    assertEquals(3, prune.code());
    assertOneLine(prune.err());
    assertFalse(prune.err().contains(attack), prune::err);

    ProgramRun inspect = Laco.run("inspect", model);
    assertFalse(inspect.out().contains(attack), inspect::out);
    assertEquals(1, inspect.out().lines().filter(l -> l.contains("architecture ")).count());

    ProgramRun document = Laco.run("inspect", model, "--json");
    assertEquals(name, document.json().get("architecture").asText());
    assertFalse(document.out().contains(attack), document::out);
  }

  @Test
  void namesOfFoldersAreLinesOfTheirOwnNeither() {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("a\nlaco: b" + ESCAPE));
    ProgramRun run =
        Laco.run(
                "eval",
                model,
                "--tokens",
                TestFiles.write(folder.resolve("ids.json"), "[[1, 2, 3]]"))
            .succeeded();
    assertTrue(run.out().contains("a\\nlaco: b\\u001b"), run::out);
    assertFalse(run.out().contains(ESCAPE) || run.out().contains("\nlaco:"), run::out);
    assertOneLine(Laco.run("inspect", folder.resolve("c\nlaco: d")).err());
  }

  @Test
  void aNameOfManyBlanksIsAShortMessageAtOnce() {
    Path model = TestCheckpoints.copy("llama_linear", folder.resolve("model"));
    TestCheckpoints.edit(
        model.resolve("config.json"),
        c -> c.replace("LlamaForCausalLM", "a" + " ".repeat(400_000) + "b"));
    ProgramRun run =
        assertTimeoutPreemptively(
            Duration.ofSeconds(30), () -> Laco.run("prune", model, "--dry-run"));
    assertEquals(3, run.code());
    assertOneLine(run.err());
    assertTrue(run.err().length() < 1000, () -> run.err().length() + " characters");
  }

  @Test
  void whatAModelSaysCannotSteerATerminal() throws Exception {
    Path model = folder.resolve("model");
    copyStoryteller(model);
    String said = generated(model, false);
    // Where the comma was said it is an escape now, in the alphabet of byte-level models.
    TestCheckpoints.edit(
        model.resolve("tokenizer.json"),
        t ->
            t.replace("\",\":", "\"swapped\":")
                .replace("\"\u011b\":", "\",\":")
                .replace("\"swapped\":", "\"\u011b\":"));
    String piped = generated(model, false);
    assertNotEquals(said, piped);
    assertTrue(piped.contains(ESCAPE), piped);
    String shown = generated(model, true);
    assertFalse(shown.contains(ESCAPE), shown);
    assertEquals(piped.replace(ESCAPE, "\\u001b"), shown);
  }

  private static void copyStoryteller(Path model) throws IOException {
    Files.createDirectory(model);
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      Path file = Fixtures.STORYTELLER.resolve(name).toAbsolutePath();
      if (name.equals("tokenizer.json")) {
        Files.copy(file, model.resolve(name));
      } else {
        Files.createSymbolicLink(model.resolve(name), file);
      }
    }
  }

  private static String generated(Path model, boolean terminal) throws IOException {
    ProcessBuilder builder =
        ProgramRun.java(
            Main.class, "generate", model, "--prompt", "1", "--max-tokens", 40, "--temperature", 0);
    builder.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.stdout.terminal=" + terminal);
    return ProgramRun.of(builder.start()).succeeded().out();
  }

  static Stream<List<Object>> commands() {
    Path model = Fixtures.model("llama_linear");
    return Stream.of(
        List.of("--help"),
        List.of("--version"),
        List.of("prune", "--help"),
        List.of("help", "prune"),
        List.of("completion"),
        List.of("doctor"),
        List.of("doctor", "--json"),
        List.of("inspect", model),
        List.of("inspect", model, "--json"),
        List.of("eval", model, "--tokens", IDS),
        List.of("eval", model, "--tokens", IDS, "--json"),
        List.of("prune", model, "--dry-run", "--calibration", IDS, "--threshold", 1),
        List.of("prune", model, "--dry-run", "--calibration", IDS, "--threshold", 1, "--json"),
        List.of("compare", model, "--calibration", IDS, "--eval-tokens", IDS),
        List.of("generate", Fixtures.STORYTELLER, "--prompt", "a", "--max-tokens", 2));
  }

  @ParameterizedTest
  @MethodSource("commands")
  void outputThatCannotBeWrittenIsAnError(List<Object> arguments) {
    Path ids = TestFiles.write(folder.resolve("ids.json"), "[[1, 2, 3]]");
    String[] strings =
        arguments.stream()
            .map(a -> a.toString().replace(IDS, ids.toString()))
            .toArray(String[]::new);
    StringWriter err = new StringWriter();
    int code = Main.run(new StandardOutput(new Full()), new PrintWriter(err, true), strings);
    assertEquals(4, code, err::toString);
    assertTrue(
        err.toString().endsWith("laco: cannot write to standard output: No space left\n"),
        err::toString);
  }

  /** A disk without room. */
  private static final class Full extends OutputStream {
    @Override
    public void write(int b) throws IOException {
      throw new IOException("No space left");
    }
  }

  @Test
  void aPruneWhoseOutputIsLostIsStillWritten() {
    Path ids = Fixtures.tokens(folder, "llama_linear", "calib");
    Path out = folder.resolve("out");
    String[] arguments = {
      "prune",
      Fixtures.model("llama_linear").toString(),
      out.toString(),
      "--calibration",
      ids.toString(),
      "--threshold",
      "0.5"
    };
    StringWriter err = new StringWriter();
    int code = Main.run(new StandardOutput(new Full()), new PrintWriter(err, true), arguments);
    assertEquals(4, code, err::toString);
    Laco.run("inspect", out).succeeded();
  }

  @Test
  void aFullDiskIsNamedAndAClosedPipeIsNoError() throws Exception {
    ProcessBuilder full = ProgramRun.java(Main.class, "inspect", Fixtures.model("llama_linear"));
    full.redirectOutput(Path.of("/dev/full").toFile());
    ProgramRun run = ProgramRun.of(full.start());
    assertEquals(4, run.code(), run.err());
    assertTrue(run.err().contains("standard output: No space left on device"), run.err());

    Process pipe =
        ProgramRun.java(
                Main.class,
                "generate",
                Fixtures.STORYTELLER,
                "--prompt",
                "a",
                "--max-tokens",
                100_000,
                "--quiet")
            .start();
    pipe.getInputStream().close();
    String err = new String(pipe.getErrorStream().readAllBytes(), UTF_8);
    assertEquals(4, pipe.waitFor(), err);
    assertFalse(err.contains("standard output") || err.contains("pipe"), err);
  }

  @Test
  void standardOutputIsWhatTheShellMadeOfIt() throws Exception {
    Path file = folder.resolve("lines");
    inShell(String.format(Locale.ROOT, "{ echo before; \"$@\"; echo after; } >'%s'", file))
        .succeeded();
    String lines = Files.readString(file);
    assertTrue(lines.matches("before\nlaco [^\n]+\nafter\n"), lines);
    Files.writeString(file, "before\n");
    inShell(String.format(Locale.ROOT, "\"$@\" >>'%s'", file)).succeeded();
    assertTrue(Files.readString(file).matches("before\nlaco [^\n]+\n"));
    assertTrue(inShell("\"$@\" 2>&-").succeeded().out().startsWith("laco "));
    ProgramRun closed = inShell("\"$@\" >&-");
    assertEquals(4, closed.code(), closed.err());
    assertEquals("laco: cannot write to standard output: Bad file descriptor\n", closed.err());
  }

  /** A shell that runs {@code script}, whose arguments say laco's version. */
  private static ProgramRun inShell(String script) throws IOException {
    List<String> command = new ArrayList<>(List.of("bash", "-c", script, "bash"));
    command.addAll(ProgramRun.java(Main.class, "--version").command());
    return ProgramRun.of(new ProcessBuilder(command).start());
  }

  @Test
  void everyThrowableIsALine() {
    StringWriter err = new StringWriter();
    PrintWriter broken =
        new PrintWriter(
            new Writer() {
              @Override
              public void write(char[] text, int from, int length) {
                throw new StackOverflowError("deep\nlaco: fine");
              }

              @Override
              public void flush() {}

              @Override
              public void close() {}
            });
    for (String[] arguments :
        new String[][] {{"inspect", Fixtures.model("llama_linear").toString()}, {"--version"}}) {
      err.getBuffer().setLength(0);
      assertEquals(1, Main.run(broken, new PrintWriter(err, true), arguments));
      assertOneLine(err.toString());
      assertTrue(err.toString().contains("StackOverflowError"), err::toString);
      assertTrue(err.toString().contains("LACO_JAVA_OPTIONS=-Dlaco.trace=true"), err::toString);
    }
  }

  @Test
  void anErrorOfAnotherThreadEndsTheProcessWithALine() throws Exception {
    ProgramRun run = ProgramRun.of(ProgramRun.java(DyingThread.class).start());
    assertEquals(1, run.code(), run.err());
    assertOneLine(run.err());
    assertTrue(run.err().contains("AssertionError: lost"), run.err());

    ProcessBuilder traced = ProgramRun.java(DyingThread.class);
    traced.environment().put("JDK_JAVA_OPTIONS", "-Dlaco.trace=true");
    assertTrue(ProgramRun.of(traced.start()).err().contains("\tat dev.laco.cli.TerminalTest"));
  }

  /** A command that would go on, and a thread that dies beside it. */
  static final class DyingThread {
    private DyingThread() {}

    public static void main(String[] args) {
      new Thread(
              () -> {
                while (Thread.getDefaultUncaughtExceptionHandler() == null) {
                  LockSupport.parkNanos(1_000_000);
                }
                throw new AssertionError("lost");
              })
          .start();
      Main.main(
          new String[] {
            "generate",
            Fixtures.STORYTELLER.toString(),
            "--prompt",
            "a",
            "--max-tokens",
            "100000",
            "--json",
            "--quiet"
          });
    }
  }

  private static void assertOneLine(String err) {
    assertTrue(err.matches("laco: [^\\n]+\\n"), () -> "one line: " + err);
  }

  private static String json(String text) {
    StringBuilder escaped = new StringBuilder();
    for (char c : text.toCharArray()) {
      escaped.append(c < ' ' ? String.format(Locale.ROOT, "\\u%04x", (int) c) : String.valueOf(c));
    }
    return escaped.toString();
  }
}
