package dev.laco.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

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
 */
record Note(
    String id,
    String device,
    double bytes,
    double operations,
    List<Rates> ceilings,
    Map<String, Double> seconds) {
  /** The system property that names the file. */
  static final String FILE = "laco.bench.notes";

  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * Samples of a ceiling.
   *
   * @param samples in billions a second
   */
  record Rates(String name, Ceiling.Unit unit, List<Double> samples) {}

  /** Adds this note to the file. */
  void write() {
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
