package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The same items under the names and in the forms in which they are published. */
final class PublishedFilesTest {
  private static final Path LINES = Path.of("src/test/resources/tasks");
  private static final Path PARQUET = Path.of("src/test/resources/parquet");
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir Path folder;

  /**
   * Snappy, zstd and gzip; groups of columns and lists; one file, two parts, several row groups.
   */
  @Test
  void parquetFilesHoldTheItemsOfTheLines() throws IOException {
    List<String> drawn = List.of("arc_easy", "mmlu_anatomy");
    assertEquals(samples(drawn, LINES, 2, 4), samples(drawn, PARQUET, 2, 4));
    List<String> parts = List.of("hellaswag", "race");
    assertEquals(samples(parts, LINES, null, 9), samples(parts, PARQUET, null, 9));
  }

  @Test
  void racesTextFilesAreItemsInTheOrderOfTheirNumbers() throws IOException {
    Path texts = Files.createDirectories(folder.resolve("RACE/test/high"));
    int number = 8;
    for (String line : Files.readAllLines(LINES.resolve("race/test.jsonl"))) {
      JsonNode article = JSON.readTree(line);
      ObjectNode text = JSON.createObjectNode();
      text.set("article", article.get("article"));
      ArrayNode questions = text.putArray("questions");
      ArrayNode options = text.putArray("options");
      ArrayNode answers = text.putArray("answers");
      for (JsonNode problem : article.get("problems")) {
        questions.add(problem.get("question"));
        options.add(problem.get("options"));
        answers.add(problem.get("answer"));
      }
      Files.writeString(texts.resolve("high" + number++ + ".txt"), text + "\n");
    }
    List<String> race = List.of("race");
    assertEquals(samples(race, LINES, 1, 3), samples(race, folder, 1, 3));
    Files.writeString(
        texts.resolve("high3.txt"),
        "{\"article\":\"a\",\"questions\":[\"q\"],\"answers\":[\"A\"]}");
    assertRefused("race", "high3.txt: line 1: \"answers\": expected as many answers and options");
  }

  @Test
  void aDamagedParquetFileIsNamedWithRowGroup() throws IOException {
    String name = "ARC-Easy/test-00000-of-00001.parquet";
    byte[] good = Files.readAllBytes(PARQUET.resolve("allenai/ai2_arc").resolve(name));
    Path file = folder.resolve("ai2_arc").resolve(name);
    Files.createDirectories(file.getParent());
    Files.write(file, List.of("no parquet"));
    assertRefused("arc_easy", name + ": cannot be read as parquet: ");
    // Pages of the second row group, which lie in front of the table of the file.
    byte[] damaged = good.clone();
    for (int i = good.length / 3; i < good.length / 3 + 200; i++) {
      damaged[i] = 0x55;
    }
    Files.write(file, damaged);
    assertRefused("arc_easy", name + ": row group 2, rows 6 to 10: cannot be read as parquet: ");
    Files.move(file, file.resolveSibling("test-00001-of-00002.parquet"));
    assertRefused("arc_easy", "is one of 2 parts, of which 1 are there; get the others, too");
    Files.delete(file.resolveSibling("test-00001-of-00002.parquet"));
    assertRefused("arc_easy", "ai2_arc/ARC-Easy/test-*.parquet");
  }

  @Test
  void fieldsAndCodecsThatAreNotReadAreNamed() throws IOException {
    Files.createDirectories(folder.resolve("piqa"));
    Path file = folder.resolve("piqa/validation.parquet");
    Files.copy(PARQUET.resolve("piqa/validation.parquet"), file);
    assertRefused(
        "piqa", "row group 1, rows 1 to 1: the column goal is compressed by BROTLI; snapp");
    Files.delete(file);
    Files.copy(PARQUET.resolve("hellaswag/data/validation-00000-of-00002.parquet"), file);
    assertRefused("piqa", "piqa/validation.parquet: row 1: \"goal\": expected text, found nothing");
  }

  @Test
  void itemsAreTakenFromExportedSamplesToo() throws IOException {
    List<String> tasks = List.of("arc_easy", "copa", "hellaswag", "lambada_openai", "wsc273");
    Path data = Path.of("src/test/resources/tasks");
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      new EvaluateJob(
              model,
              DeviceSettings.of("cpu").withThreads(1),
              new EvaluateRequest.Tasks(tasks, data, 8, null, null, null))
          .samplesTo((of, task) -> folder.resolve("samples_" + task.name() + ".jsonl"))
          .run();
    }
    // The harness has a sample of each item for each filter, and the time in the name.
    Path copa = folder.resolve("samples_copa.jsonl");
    List<String> lines = Files.readAllLines(copa);
    Path last = folder.resolve("samples_copa_2026-02-01T10-00-00.000000.jsonl");
    Files.write(last, lines);
    Files.writeString(
        last,
        String.join("\n", lines).replace("\"filter\":\"none\"", "\"filter\":\"other\""),
        StandardOpenOption.APPEND);
    Files.writeString(folder.resolve("samples_copa_2026-01-01T10-00-00.000000.jsonl"), "{}\n");
    Files.delete(copa);
    assertEquals(samples(tasks, data, null, 8), samples(tasks, folder, null, null));
    Files.delete(last);
    assertRefused("copa", "000000.jsonl: line 1: \"doc\": expected an object, found nothing");
  }

  private List<JsonNode> samples(
      List<String> tasks, Path data, @Nullable Integer shots, @Nullable Integer limit)
      throws IOException {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      new EvaluateJob(
              model,
              DeviceSettings.of("cpu").withThreads(1),
              new EvaluateRequest.Tasks(tasks, data, limit, shots, null, null))
          .samplesTo((of, task) -> folder.resolve(task.name()))
          .run();
    }
    List<JsonNode> samples = new ArrayList<>();
    for (String task : tasks) {
      for (String line : Files.readAllLines(folder.resolve(task))) {
        ObjectNode sample = (ObjectNode) JSON.readTree(line);
        samples.add(sample.retain("arguments", "resps", "target", "acc"));
      }
      Files.delete(folder.resolve(task));
    }
    return samples;
  }

  private void assertRefused(String task, String message) {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateJob job =
          new EvaluateJob(
              model,
              DeviceSettings.of("cpu"),
              new EvaluateRequest.Tasks(List.of(task), folder, null, null, null, null));
      BadInputException refused = assertThrows(BadInputException.class, job::run);
      assertTrue(refused.getMessage().contains(message), refused::getMessage);
    }
  }
}
