package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Tasks, beside what lm-evaluation-harness measures of the same model on the same items. */
final class TasksTest {
  private static final Path DATA = Path.of("src/test/resources/tasks");
  private static final Path RECORDED = Path.of("src/test/resources/harness/storyteller.json");
  private static final double LIKELIHOOD = 1e-4;
  private static final double SHARE = 1e-12;

  @TempDir Path folder;

  @Test
  void everyItemIsScoredAsInTheHarness() throws IOException {
    JsonNode recorded = new ObjectMapper().readTree(RECORDED.toFile());
    List<String> names = new ArrayList<>(Task.names());
    names.removeIf(name -> name.startsWith("laco_") || name.equals("gsm8k"));
    names.addAll(List.of("cmmlu_agronomy", "mmlu_anatomy"));
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      assertAsRecorded(model, recorded.get("tasks"), names, null, null, false);
      assertAsRecorded(
          model,
          recorded.get("withExamples"),
          names(recorded.get("withExamples")),
          2,
          recorded.get("shots").intValue(),
          false);
      assertAsRecorded(
          model,
          recorded.get("withMutualInformation"),
          names(recorded.get("withMutualInformation")),
          null,
          null,
          true);
    }
  }

  /** Two lines of each item: the harness has one for each filter. */
  @Test
  void generatedTextsAreThoseOfTheHarness() throws IOException {
    JsonNode recorded = new ObjectMapper().readTree(RECORDED.toFile()).at("/generated/gsm8k");
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateResult result =
          new EvaluateJob(
                  model,
                  DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32),
                  new EvaluateRequest.Tasks(List.of("gsm8k"), DATA, null, null, null, null))
              .samplesTo((of, task) -> folder.resolve(task.name()))
              .run();
      JsonNode found = EvaluateJson.of(result);
      assertEquals(5, found.at("/n-shot/gsm8k").intValue());
      for (String filter : List.of("strict-match", "flexible-extract")) {
        for (String key : List.of("exact_match,", "exact_match_stderr,")) {
          assertEquals(
              recorded.get(key + filter), found.get("results").get("gsm8k").get(key + filter), key);
        }
      }
    }
    List<String> lines = Files.readAllLines(folder.resolve("gsm8k"));
    assertEquals(2 * recorded.get("items").size(), lines.size());
    for (int i = 0; i < lines.size(); i++) {
      JsonNode expected = recorded.get("items").get(i / 2);
      JsonNode line = new ObjectMapper().readTree(lines.get(i));
      JsonNode filtered = expected.get("found").get(line.get("filter").textValue());
      assertEquals(expected.get("text"), line.at("/resps/0/0"), "item " + i / 2);
      assertEquals(filtered.get(0), line.at("/filtered_resps/0"));
      assertEquals(filtered.get(1), line.get("exact_match"));
    }
  }

  private static List<String> names(JsonNode object) {
    List<String> names = new ArrayList<>();
    object.fieldNames().forEachRemaining(names::add);
    return names;
  }

  private void assertAsRecorded(
      Model model,
      JsonNode recorded,
      List<String> names,
      @Nullable Integer limit,
      @Nullable Integer shots,
      boolean mutualInformation)
      throws IOException {
    EvaluateResult result =
        new EvaluateJob(
                model,
                DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32),
                new EvaluateRequest.Tasks(names, DATA, limit, shots, mutualInformation, null))
            .samplesTo((of, task) -> folder.resolve(task.name()))
            .run();
    JsonNode found = EvaluateJson.of(result);
    assertEquals(names.stream().sorted().toList(), names(recorded));
    for (String name : names) {
      JsonNode expected = recorded.get(name);
      JsonNode results = found.get("results").get(name);
      assertEquals(
          expected.get("version").textValue(), found.get("versions").get(name).textValue());
      List<String> samples = Files.readAllLines(folder.resolve(name));
      for (int i = 0; i < samples.size(); i++) {
        assertItem(
            name + " " + i,
            expected.get("items").get(i),
            new ObjectMapper().readTree(samples.get(i)));
      }
      if (limit != null) {
        assertEquals(limit, samples.size());
        continue;
      }
      assertEquals(expected.get("items").size(), samples.size());
      for (String key :
          List.of(
              "acc,none",
              "acc_stderr,none",
              "acc_norm,none",
              "acc_norm_stderr,none",
              "acc_mutual_info,none",
              "acc_mutual_info_stderr,none")) {
        assertClose(expected, results, key, SHARE);
      }
      for (String key :
          List.of(
              "perplexity,none",
              "word_perplexity,none",
              "byte_perplexity,none",
              "bits_per_byte,none")) {
        assertClose(expected, results, key, LIKELIHOOD);
      }
    }
  }

  private static void assertClose(JsonNode expected, JsonNode found, String key, double tolerance) {
    assertEquals(expected.has(key), found.has(key), key);
    if (expected.has(key)) {
      double value = expected.get(key).doubleValue();
      assertEquals(value, found.get(key).doubleValue(), tolerance * value, key);
    }
  }

  private static void assertItem(String what, JsonNode expected, JsonNode found) {
    JsonNode likelihoods = expected.get("logLikelihoods");
    JsonNode responses = found.get("filtered_resps");
    assertEquals(likelihoods.size(), responses.size(), what);
    for (int i = 0; i < likelihoods.size(); i++) {
      double likelihood = likelihoods.get(i).doubleValue();
      assertEquals(
          likelihood,
          Double.parseDouble(
              (responses.get(i).isTextual() ? responses.get(i) : responses.get(i).get(0))
                  .textValue()),
          LIKELIHOOD * Math.abs(likelihood),
          what);
    }
    for (String metric : List.of("acc", "acc_norm", "acc_mutual_info")) {
      if (expected.has(metric)) {
        assertEquals(expected.get(metric).doubleValue(), found.get(metric).doubleValue(), what);
      }
    }
    assertTrue(found.get("doc").isObject());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
          piqa       | piqa/valid.jsonl        | {'goal': 1}                                        | line 1: "goal": expected text, found 1
          piqa       | piqa/validation.jsonl   | {'goal':'g','sol1':'a','sol2':'b','label':2}       | line 1: "label": expected a number from 0 to 1, found 2
          piqa       | piqa/validation.jsonl   | {'goal':'g','sol1':'','sol2':'b','label':0}        | line 1 has an empty answer
          arc_easy   | ARC-Easy-Test.jsonl     | {'question':{'stem':'q','choices':[{'text':'t','label':'A'}]},'answerKey':'B'} | line 1: "answerKey": expected one of A, found "B"
          arc_easy   | arc_easy/test.jsonl     | {'question':'q','choices':{'text':['a'],'label':['A','B']}} | line 1: "choices": expected as many labels as texts
          winogrande | winogrande/dev.jsonl    | {'sentence':'No blank.'}                           | line 1: "sentence": expected a sentence with _, found "No blank."
          boolq      | boolq/dev.jsonl         | ['a']                                              | line 1 is not a JSON object
          boolq      | boolq/dev.jsonl         | {'passage'                                         | line 1: is not valid JSON
          copa       | COPA/val.jsonl          | " "                                                | COPA/val.jsonl: holds no items
          mmlu_virology | data/test/virology_test.csv | a,b                                          | line 1 has 2 cells, expected 6: question, A, B, C, D, answer
          mmlu_virology | data/test/virology_test.csv | 'a,b                                         | line 1 has a quote that does not end
          race       | race/validation.jsonl   | {}                                                 | has no items of race; looked for RACE/test/high/*.txt, race/test.jsonl, race/test.parquet, EleutherAI/race/high/test-*.parquet
          """)
  void aBrokenFileIsNamedWithLineAndField(String task, String file, String line, String message)
      throws IOException {
    Path path = folder.resolve(file);
    put(path, line.replace('\'', '"') + "\n");
    if (file.equals("piqa/valid.jsonl")) {
      put(folder.resolve("piqa/valid-labels.lst"), "0\n");
    }
    assertRefused(task, message);
  }

  /** A quote that does not end takes all lines behind it. */
  @Test
  void aRowOfManyLinesIsRefusedAtOnce() throws IOException {
    put(folder.resolve("data/test/virology_test.csv"), "\"" + "\n".repeat(3 << 20));
    assertTimeoutPreemptively(
        Duration.ofSeconds(20),
        () -> assertRefused("mmlu_virology", "line 1 has more than 2,097,152 bytes; shorten it"));
  }

  @Test
  void theDocumentListsEveryTask() throws IOException {
    List<String> rows =
        Files.readAllLines(Path.of("docs/evaluation.md")).stream()
            .filter(line -> line.matches("\\| `\\w+` \\| [0-9.]+ \\|.*"))
            .toList();
    List<String> tasks =
        Task.named(Task.names()).stream()
            .map(task -> String.format(Locale.ROOT, "| `%s` | %s |", task, task.version()))
            .toList();
    assertEquals(
        tasks, rows.stream().map(row -> row.replaceFirst("^((\\|[^|]*){2}\\|).*", "$1")).toList());
  }

  @Test
  void aTaskThatIsNamedTwiceIsMeasuredOnce() {
    assertEquals(
        List.of("piqa", "arc_challenge", "arc_easy", "hellaswag", "winogrande", "boolq"),
        Task.named(List.of("piqa", "qa5", "boolq", "arc_easy")).stream().map(Task::name).toList());
    assertEquals(
        Task.named(List.of("qa7")).stream().map(Task::name).toList(),
        Task.named(List.of("qa7", "qa5", "qa7")).stream().map(Task::name).toList());
  }

  @Test
  void blankLinesInsideAQuotedCellBelongToTheCell() throws IOException {
    put(
        folder.resolve("data/test/virology_test.csv"),
        "\"one\n\n  \ntwo\",a,b,c,d,A\n\nthree,a,b,c,d,B\n");
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      new EvaluateJob(
              model,
              DeviceSettings.of("cpu").withThreads(1),
              new EvaluateRequest.Tasks(List.of("mmlu_virology"), folder, null, null, null, null))
          .samplesTo((of, task) -> folder.resolve("samples"))
          .run();
    }
    List<String> samples = Files.readAllLines(folder.resolve("samples"));
    assertEquals(2, samples.size());
    ObjectMapper json = new ObjectMapper();
    assertEquals(
        "one\n\n  \ntwo", json.readTree(samples.getFirst()).at("/doc/question").textValue());
    assertEquals("three", json.readTree(samples.getLast()).at("/doc/question").textValue());
  }

  @Test
  void tasksThatTakeNoOtherExamplesKeepTheirOwnAndAreNamed() {
    List<String> warnings = new ArrayList<>();
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateJob job =
          new EvaluateJob(
                  model,
                  DeviceSettings.of("cpu").withThreads(1),
                  new EvaluateRequest.Tasks(
                      List.of("copa", "laco_copy", "laco_needle", "wikitext"),
                      DATA,
                      1,
                      2,
                      null,
                      null))
              .listener(
                  event -> {
                    if (event instanceof JobEvent.Warned warned) {
                      warnings.add(warned.message());
                    }
                  });
      JsonNode shots = EvaluateJson.of(job.run()).get("n-shot");
      assertEquals(2, shots.get("copa").intValue());
      assertEquals(4, shots.get("laco_copy").intValue());
      assertEquals(0, shots.get("laco_needle").intValue());
      assertEquals(0, shots.get("wikitext").intValue());
    }
    assertEquals(
        List.of(
            "shots 2 does not hold for laco_copy (4), laco_needle (0), wikitext (0): probes have"
                + " their own examples, and whole texts none"),
        warnings);
  }

  @Test
  void labelsAndItemsAreAsMany() throws IOException {
    String item = "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}\n";
    put(folder.resolve("piqa/valid.jsonl"), item.repeat(2));
    put(folder.resolve("piqa/valid-labels.lst"), "1\n");
    assertRefused("piqa", "valid.jsonl: line 2 has no label");
    put(folder.resolve("piqa/valid-labels.lst"), "1\n0\n1\n");
    assertRefused("piqa", "valid-labels.lst: line 3 is the label of no item");
  }

  private static void put(Path file, String text) throws IOException {
    Files.createDirectories(file.getParent());
    TestFiles.write(file, text);
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
