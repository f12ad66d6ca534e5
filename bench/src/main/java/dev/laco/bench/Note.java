package dev.laco.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What a benchmark's own process tells the one that started it, beside the times that JMH carries:
 * a line of JSON in a file.
 *
 * @param id of the benchmark with its parameters, as JMH makes it
 * @param device in words
 * @param bytes that one invocation must move
 * @param operations that one invocation must do, a multiplication and an addition counting two
 * @param ceilings measured in the same process, the one that a target names first
 * @param seconds where the time went, by op; empty where there is only one
 * @param target what the project wants, null where it has said nothing
 */
public record Note(
    String id,
    String device,
    double bytes,
    double operations,
    List<Rates> ceilings,
    Map<String, Double> seconds,
    @Nullable Target target) {
  /** The system property that names the file. */
  static final String FILE = "laco.bench.notes";

  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * Samples of a ceiling.
   *
   * @param samples in billions a second
   */
  public record Rates(String name, Ceiling.Unit unit, List<Double> samples) {
    double best() {
      return Collections.max(samples);
    }

    double median() {
      return samples.stream().sorted().toList().get(samples.size() / 2);
    }
  }

  /** Adds this note to the file. */
  public void write() {
    try {
      Files.writeString(
          Path.of(System.getProperty(FILE)),
          JSON.writeValueAsString(this) + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw new IllegalStateException("cannot write the notes for the table", e);
    }
  }

  /** All notes of the file by id. */
  static Map<String, Note> read(Path file) throws IOException {
    Map<String, Note> notes = new HashMap<>();
    if (Files.exists(file)) {
      for (String line : Files.readAllLines(file)) {
        Note note = parse(line);
        notes.put(note.id(), note);
      }
    }
    return notes;
  }

  private static Note parse(String line) throws JsonProcessingException {
    return JSON.readValue(line, Note.class);
  }
}
