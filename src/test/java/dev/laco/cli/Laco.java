package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.IdleThreads;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** The command line, used as a user does: in this process, or in one of its own. */
public final class Laco {
  /** The trained model that comes with the project. */
  public static final Path STORYTELLER = Path.of("models/storyteller");

  private static final JsonMapper JSON =
      JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

  private Laco() {}

  /**
   * What a command came to; without the lines on standard error that say how long it takes, which
   * differ from run to run.
   */
  public record Run(int code, String out, String err) {
    public Run {
      err = withoutTimes(err);
    }

    /** This run, which must have succeeded. */
    public Run succeeded() {
      assertEquals(0, code, err);
      return this;
    }

    /** Standard output, which must be one JSON document. */
    public JsonNode json() {
      try {
        return JSON.readTree(out);
      } catch (JsonProcessingException e) {
        throw new AssertionError("not one JSON document: " + out, e);
      }
    }
  }

  /** Standard error without the lines that say how long a command takes. */
  public static String withoutTimes(String err) {
    return err.replaceAll("(?m)^(time|progress|done) {2,}.*\\R", "");
  }

  /** Runs a command in this process. */
  public static Run run(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    PrintWriter outWriter = new PrintWriter(out);
    PrintWriter errWriter = new PrintWriter(err);
    int code = Main.run(outWriter, errWriter, strings(arguments).toArray(String[]::new));
    outWriter.flush();
    errWriter.flush();
    return new Run(code, out.toString(), err.toString());
  }

  /**
   * A process of its own that runs a command with the launcher's heap.
   *
   * @param main the entry point
   */
  public static ProcessBuilder process(Class<?> main, Object... arguments) {
    // A parent in the background of a shell may have SIGINT ignored, which would be inherited.
    List<String> command =
        new ArrayList<>(
            List.of(
                "env",
                "--default-signal=INT",
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
                "-cp",
                System.getProperty("java.class.path"),
                main.getName()));
    command.addAll(strings(arguments));
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().putAll(IdleThreads.VARIABLES);
    return builder;
  }

  private static List<String> strings(Object[] arguments) {
    return Arrays.stream(arguments).map(Object::toString).toList();
  }

  /** Writes the token lists of a fixture's set to a file of their own. */
  public static Path tokens(Path folder, String fixture, String set) {
    return write(
        folder.resolve(fixture + "." + set + ".json"),
        Fixtures.json(fixture, "tokens.json").get(set).toString());
  }

  /** Writes a text file. */
  public static Path write(Path file, String text) {
    try {
      return Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A report without what differs from run to run. */
  public static JsonNode withoutTimings(JsonNode report) {
    ObjectNode copy = report.deepCopy();
    copy.remove(List.of("date", "command", "timings"));
    if (copy.get("fit") instanceof ObjectNode fit) {
      fit.remove(List.of("choiceSeconds", "fitSeconds"));
    }
    return copy;
  }

  /** Names of what lies in a folder. */
  public static List<String> names(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Every file of a folder: its name and its bytes, a char each. */
  public static Map<String, String> tree(Path folder) {
    Map<String, String> files = new TreeMap<>();
    for (String name : names(folder)) {
      try {
        files.put(
            name,
            new String(
                Files.readAllBytes(folder.resolve(name)),
                java.nio.charset.StandardCharsets.ISO_8859_1));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return files;
  }

  /** Checks that two folders hold the same files, byte for byte. */
  public static void assertSameTree(Path expected, Path found) {
    Map<String, String> a = tree(expected);
    Map<String, String> b = tree(found);
    assertEquals(a.keySet(), b.keySet());
    a.forEach(
        (name, bytes) -> {
          if (!bytes.equals(b.get(name))) {
            throw new AssertionError(name + " differs between " + expected + " and " + found);
          }
        });
  }

  /** All that a finished process printed. */
  public static Run finished(Process process) {
    try {
      // Standard error is small here: it fits the pipe while standard output is read.
      String out = new String(process.getInputStream().readAllBytes(), UTF_8);
      String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
      return new Run(process.waitFor(), out, err);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
