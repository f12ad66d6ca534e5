package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.text.TokenizerProcess.Limits;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The process of a tokenizer: what it costs to lose it, and that it never stays behind. */
@Timeout(60)
class TokenizerProcessTest {
  private static final Path FILE = Path.of("models/storyteller/tokenizer.json");
  private static final Limits HASTY =
      new Limits(Duration.ofMillis(500), Duration.ZERO, 300_000_000, 0, 0);

  @TempDir Path folder;

  private final List<TokenizerProcess> started = new ArrayList<>();

  private Tokenizer tokenizer(Path file, Limits limits) {
    return new Tokenizer(
        file,
        () -> {
          started.add(TokenizerProcess.start(limits));
          return started.getLast();
        });
  }

  @Test
  void aTokenizerThatEncodesNothingStartsNoProcess() {
    try (Tokenizer unused = tokenizer(FILE, Limits.USUAL)) {
      unused.streamingDecoder();
    }
    assertEquals(0, started.size());
  }

  @Test
  void theProcessEndsWithRestAndWithCloseAndStartsAgainInBetween() {
    Tokenizer tokenizer = tokenizer(FILE, Limits.USUAL);
    int[] ids = tokenizer.encode("The lighthouse");
    tokenizer.rest();
    assertGone(started.get(0).pid());
    assertArrayEquals(ids, tokenizer.encode("The lighthouse"));
    tokenizer.close();
    assertGone(started.get(1).pid());
    assertEquals(2, started.size());
    assertNull(System.getProperty("ENGINE_CACHE_DIR"));
  }

  @Test
  void aProcessThatIsKilledIsOneLineHoweverOftenItIsAsked() throws InterruptedException {
    try (Tokenizer tokenizer = tokenizer(FILE, Limits.USUAL)) {
      tokenizer.encode("a");
      Thread killer =
          Thread.ofPlatform()
              .start(
                  () -> {
                    awaitBusy(started.getFirst().pid());
                    handle(started.getFirst().pid()).destroyForcibly();
                  });
      ResourceException error =
          assertThrows(ResourceException.class, () -> tokenizer.encode("a".repeat(8_000_000)));
      killer.join();
      assertOneLine("killed", error);
      assertOneLine("killed", assertThrows(ResourceException.class, tokenizer::prefix));
      assertEquals(1, started.size());
    }
  }

  /** Keys pressed in a terminal are signals for every process in front of it. */
  @Test
  void theSignalsOfATerminalAreIgnored() throws IOException, InterruptedException {
    try (Tokenizer tokenizer = tokenizer(FILE, Limits.USUAL)) {
      int[] ids = tokenizer.encode("Hello");
      for (String signal : List.of("INT", "QUIT", "HUP", "TERM")) {
        new ProcessBuilder("sh", "-c", "kill -" + signal + " " + started.getFirst().pid())
            .start()
            .waitFor();
      }
      assertArrayEquals(ids, tokenizer.encode("Hello"));
    }
  }

  @Test
  void aTextThatTakesTooLongIsAnErrorThatSaysWhatIsInIt() throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(
        file,
        Files.readString(FILE)
            .replace(
                "\"normalizer\": null",
                """
                "normalizer": {"type": "Replace", "content": " ", "pattern": {"Regex":
                  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\s+(?!\\\\S)|\\\\s+"}}
                """));
    try (Tokenizer tokenizer = tokenizer(file, HASTY)) {
      String text = " ".repeat(11_000_000) + "a";
      BadInputException error = assertThrows(BadInputException.class, () -> tokenizer.encode(text));
      assertOneLine("11,000,000 blanks in a row", error);
      assertEquals(
          error.getMessage(),
          assertThrows(BadInputException.class, () -> tokenizer.encode("a")).getMessage());
    }
  }

  static Stream<Arguments> tooLarge() {
    String part = "{\"type\": \"NFC\"},";
    return Stream.of(
        Arguments.of(
            "\"added_tokens\": [" + "{},".repeat(200_000) + "{}]", "added_tokens holds 200,001"),
        Arguments.of(
            "\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"" + "a".repeat(10_001) + "\"}",
            "normalizer: \"prepend\" has 10,001 characters"),
        Arguments.of(
            "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
                + part.repeat(101)
                + "{}]}",
            "pre_tokenizer is made of more than 100 components"),
        Arguments.of("\"decoder\": " + "[".repeat(64) + "]".repeat(64), "nesting depth"));
  }

  @ParameterizedTest
  @MethodSource("tooLarge")
  void componentsLargerThanAnyNeedAreNamed(String component, String message) throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(file, "{" + component + ", \"model\": {}}");
    assertOneLine(
        message, assertThrows(BadInputException.class, () -> tokenizer(file, Limits.USUAL)));
  }

  @Test
  void theProcessEndsWithOneThatIsKilled() throws IOException, InterruptedException {
    Process holder = holder(folder);
    try (BufferedReader lines = holder.inputReader()) {
      long child = Long.parseLong(lines.readLine());
      try (Stream<Path> left = Files.list(folder)) {
        assertEquals(List.of(), left.toList());
      }
      awaitBusy(child);
      holder.destroyForcibly().waitFor();
      for (int i = 0; i < 500 && runs(child); i++) {
        Thread.sleep(20);
      }
      boolean left = runs(child);
      ProcessHandle.of(child).ifPresent(ProcessHandle::destroyForcibly);
      assertFalse(left);
    }
  }

  /** False for what has ended, whether or not somebody has noticed: that is up to the system. */
  private static boolean runs(long pid) {
    try {
      return !Files.readString(Path.of("/proc/" + pid + "/stat")).contains(") Z ");
    } catch (IOException e) {
      return false;
    }
  }

  @Test
  void aFolderThatTheLibraryCannotBeUnpackedIntoIsNamed() throws IOException {
    Path missing = folder.resolve("missing");
    try (BufferedReader lines = holder(missing).inputReader()) {
      String message = lines.readLine();
      assertTrue(message.contains(missing.toString()), message);
      assertTrue(message.contains("set TMPDIR"), message);
    }
  }

  /** A process that keeps a tokenizer busy for long. */
  private static Process holder(Path temporary) throws IOException {
    return new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Djava.io.tmpdir=" + temporary,
            "-cp",
            System.getProperty("java.class.path"),
            Holder.class.getName())
        .redirectError(ProcessBuilder.Redirect.DISCARD)
        .start();
  }

  /** The program of that process. */
  static final class Holder {
    public static void main(String[] args) throws Exception {
      try {
        TokenizerProcess process = TokenizerProcess.start(Limits.USUAL);
        // Looks at all blanks behind each blank: far longer than anybody waits.
        String normalizer =
            """
            {"type": "Replace", "content": "", "pattern": {"Regex": "\\\\s+[^\\\\sa]"}}\
            """;
        process.load(
            Files.readString(FILE)
                .replace("\"normalizer\": null", "\"normalizer\": " + normalizer));
        System.out.println(process.pid());
        process.encode(" ".repeat(1_000_000) + "a", false);
      } catch (LacoException e) {
        System.out.println(e.getMessage());
      }
    }
  }

  private static ProcessHandle handle(long pid) {
    return ProcessHandle.of(pid).orElseThrow();
  }

  /** Waits until a process has used a good deal of processor time. */
  private static void awaitBusy(long pid) {
    Duration before = processorTime(pid);
    while (processorTime(pid).minus(before).toMillis() < 200) {
      try {
        TimeUnit.MILLISECONDS.sleep(10);
      } catch (InterruptedException e) {
        return;
      }
    }
  }

  private static Duration processorTime(long pid) {
    return handle(pid).info().totalCpuDuration().orElseThrow();
  }

  private static void assertGone(long pid) {
    assertTrue(ProcessHandle.of(pid).isEmpty() || !handle(pid).isAlive(), "process " + pid);
    assertFalse(Files.exists(Path.of("/proc/" + pid)), "zombie " + pid);
  }

  private static void assertOneLine(String says, LacoException error) {
    String message = String.valueOf(error.getMessage());
    assertTrue(message.contains(says), message);
    assertTrue(message.contains("tokenizer.json: "), message);
    assertFalse(message.contains("\n"), message);
    assertTrue(message.length() < 700, message);
  }
}
