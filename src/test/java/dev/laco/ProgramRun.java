package dev.laco;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A program that has ended: its exit code and what it printed, without the lines on standard error
 * that say how long it took, which differ from run to run.
 */
public record ProgramRun(int code, String out, String err) {
  private static final JsonMapper JSON =
      JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

  public ProgramRun {
    err = withoutTimes(err);
  }

  /** Standard error without the lines that say how long a command takes. */
  public static String withoutTimes(String err) {
    return err.replaceAll("(?m)^(time|progress|done) {2,}.*\\R", "");
  }

  /** This run, which must have succeeded. */
  public ProgramRun succeeded() {
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

  /**
   * A Java program with this process's class path and the launcher's heap, yet to be started.
   *
   * @param main the entry point
   */
  public static ProcessBuilder java(Class<?> main, Object... arguments) {
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
    command.addAll(Arrays.stream(arguments).map(Object::toString).toList());
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().putAll(IdleThreads.VARIABLES);
    return builder;
  }

  /** Waits for the end of a program. */
  public static ProgramRun of(Process process) {
    try {
      // Standard error is small here: it fits the pipe while standard output is read.
      String out = new String(process.getInputStream().readAllBytes(), UTF_8);
      String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
      return new ProgramRun(process.waitFor(), out, err);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
