package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class EvalTest {
  /** Share of the largest magnitude, against a float64 forward. */
  private static final double STATES = 1e-5;

  private static final double NLL = 1e-4;

  @TempDir Path folder;

  static Stream<String> fixtures() {
    return Fixtures.names();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void dumpedStatesAndLogitsAreThoseOfTheStoredRun(String name) {
    Path dump = folder.resolve("states.safetensors");
    Laco.run(
            "eval",
            Fixtures.model(name),
            "--tokens",
            Fixtures.tokens(folder, name, "eval"),
            "--compute",
            "f32",
            "--dump",
            dump)
        .succeeded();
    Map<String, Safetensors.Tensor> found = Safetensors.read(dump);
    Map<String, Safetensors.Tensor> stored =
        Safetensors.read(Fixtures.folder(name).resolve("reference.safetensors"));
    int lists = Fixtures.tokens(name, "eval").size();
    assertEquals(2 * lists, found.size(), found.keySet()::toString);
    for (int i = 0; i < lists; i++) {
      assertClose(stored, found, i + ".final_hidden");
      assertClose(stored, found, i + ".logits");
    }
    assertEquals(1, TestFiles.names(folder).stream().filter(n -> n.startsWith("states")).count());
    assertTrue(
        TestFiles.names(folder).stream().noneMatch(n -> n.startsWith(".")), "a partial file");
  }

  static void assertClose(
      Map<String, Safetensors.Tensor> stored, Map<String, Safetensors.Tensor> found, String name) {
    Safetensors.Tensor expected = stored.get(name);
    Safetensors.Tensor values = found.get(name);
    assertEquals("F32", values.dtype());
    assertEquals(expected.elements(), values.elements(), name);
    double largest = 0;
    for (int i = 0; i < expected.elements(); i++) {
      largest = Math.max(largest, Math.abs(expected.value(i)));
    }
    for (int i = 0; i < expected.elements(); i++) {
      assertEquals(expected.value(i), values.value(i), STATES * largest, name + " at " + i);
    }
  }

  @Test
  void theTextOfTheTrainedModelHasTheStoredPerplexity() {
    // The stored pieces are BOS and 255 tokens.
    JsonNode stored = Fixtures.json("storyteller", "expected.json").at("/dense/float32/eval");
    JsonNode found =
        Laco.run(
                "eval",
                Fixtures.STORYTELLER,
                "--text",
                Fixtures.STORYTELLER.resolve("evaluation.txt"),
                "--max-length",
                255,
                "--compute",
                "f32",
                "--json")
            .succeeded()
            .json();
    double nll = stored.get("mean_nll").doubleValue();
    assertEquals(stored.get("tokens_scored"), found.get("tokens"));
    assertEquals(nll, found.get("meanNll").doubleValue(), NLL * nll);
    assertEquals(
        stored.get("ppl").doubleValue(), found.get("perplexity").doubleValue(), 2 * NLL * nll * 40);
  }

  @Test
  void chunksThatOverlapScoreEveryTokenOnceWithMoreContext() {
    Path text =
        TestFiles.write(
            folder.resolve("text.txt"),
            "The old woman lived by the river, and every morning she walked to the mill. "
                .repeat(8));
    JsonNode apart = eval(text, "--max-length", 32);
    JsonNode overlapping = eval(text, "--max-length", 32, "--stride", 8);
    JsonNode whole = eval(text);
    assertEquals(whole.get("tokens"), apart.get("tokens"));
    assertEquals(whole.get("tokens"), overlapping.get("tokens"));
    double nll = overlapping.get("meanNll").doubleValue();
    assertTrue(nll < apart.get("meanNll").doubleValue(), overlapping + " " + apart);
    assertTrue(nll > whole.get("meanNll").doubleValue(), overlapping + " " + whole);
  }

  private static JsonNode eval(Path text, Object... more) {
    Object[] arguments = new Object[5 + more.length];
    System.arraycopy(
        new Object[] {"eval", Fixtures.STORYTELLER, "--text", text, "--json"}, 0, arguments, 0, 5);
    System.arraycopy(more, 0, arguments, 5, more.length);
    return Laco.run(arguments).succeeded().json();
  }

  @Test
  void withoutASourceTheModelsOwnTextIsScored() {
    String out = Laco.run("eval", Fixtures.STORYTELLER, "--max-length", 64).succeeded().out();
    assertTrue(out.contains("of evaluation.txt)"), out);
  }

  /** The words are those that a greedy decoder writes, or others. */
  @Test
  void lastWordsAreKnownThatTheModelItselfWouldWrite() {
    StringBuilder items = new StringBuilder();
    List<String> beginnings =
        List.of(
            "The old woman lived by the river, and every morning she walked to the",
            "Once upon a time there was a king who had three",
            "He opened the door, and there upon the step he saw");
    for (String beginning : beginnings) {
      String word =
          Laco.run(
                  "generate",
                  Fixtures.STORYTELLER,
                  "--prompt",
                  beginning,
                  "--max-tokens",
                  3,
                  "--temperature",
                  0,
                  "--compute",
                  "f32",
                  "--json")
              .succeeded()
              .json()
              .get("text")
              .textValue();
      items.append(item(beginning, word)).append('\n').append(item(beginning, " zebra"));
      items.append("\n\n");
    }
    Path file = TestFiles.write(folder.resolve("items.jsonl"), items.toString());
    for (String device : List.of("cpu", "reference")) {
      JsonNode json =
          Laco.run(
                  "eval",
                  Fixtures.STORYTELLER,
                  "--last-word",
                  file,
                  "--compute",
                  "f32",
                  "--device",
                  device,
                  "--json")
              .succeeded()
              .json();
      assertEquals(1, json.size(), json::toString);
      JsonNode found = json.get("lastWord");
      assertEquals(6, found.get("items").intValue());
      assertEquals(0.5, found.get("accuracy").doubleValue());
      assertEquals(Math.sqrt(0.25 / 6), found.get("standardError").doubleValue(), 1e-12);
    }
  }

  @Test
  void lastWordsOfTwoModelsAreComparedPassageByPassage() throws IOException {
    Path pruned = folder.resolve("pruned");
    Laco.run("prune", Fixtures.STORYTELLER, pruned, "--target-layers", 4, "--rule", "drop")
        .succeeded();
    // The built-in passages need no file, and runs agree.
    ProgramRun first = Laco.run("eval", pruned, "--last-word", "--quiet").succeeded();
    assertTrue(first.out().contains("of 540 items of built-in)"), first.out());
    assertEquals(first.out(), Laco.run("eval", pruned, "--last-word", "--quiet").out());
    ProgramRun run =
        Laco.run("eval", Fixtures.STORYTELLER, "--against", pruned, "--last-word", "--json")
            .succeeded();
    JsonNode dense = run.json().get("lastWord");
    JsonNode other = run.json().get("against").get(0);
    JsonNode paired = other.get("comparison");
    double before = dense.get("accuracy").doubleValue();
    double after = other.get("lastWord").get("accuracy").doubleValue();
    assertEquals(before, paired.get("dense").doubleValue());
    assertEquals(after, paired.get("pruned").doubleValue());
    long lost = paired.get("lost").longValue();
    assertTrue(lost > 0, paired::toString);
    assertEquals(before - after, (lost - paired.get("won").longValue()) / 540.0, 1e-12);
    assertEquals(
        after,
        Laco.run("eval", pruned, "--last-word", "--json")
            .succeeded()
            .json()
            .get("lastWord")
            .get("accuracy")
            .doubleValue());
  }

  @Test
  void tasksOfTwoModelsAreComparedOnTheSameItems() throws IOException {
    Path other =
        Files.createSymbolicLink(folder.resolve("other"), Fixtures.STORYTELLER.toAbsolutePath());
    Path out = folder.resolve("out");
    ProgramRun run =
        Laco.run(
                "eval",
                Fixtures.STORYTELLER,
                "--tasks=copa,perplexity,throughput",
                "--data",
                Path.of("src/test/resources/tasks"),
                "--limit=3",
                "--out",
                out,
                "--against",
                other,
                "--html",
                folder.resolve("page.html"),
                "--json")
            .succeeded();
    JsonNode json = run.json();
    JsonNode dense = json.get("results").get("copa");
    assertEquals(dense, json.at("/against/0/results/copa"));
    JsonNode compared = json.at("/against/0/comparison/tasks/copa/acc");
    assertEquals(dense.get("acc,none"), compared.get("pruned"));
    assertEquals(0, compared.get("lost").intValue());
    assertEquals(1, compared.get("mcNemarP").doubleValue());
    JsonNode text = json.get("perplexity");
    assertEquals(text.get("perplexity"), text.at("/against/0/perplexity"));
    assertEquals(1, text.at("/against/0/comparison/ratio").doubleValue());
    assertTrue(text.get("tokens").intValue() > 1000, text.toString());
    assertEquals(2, json.at("/throughput/models").size());
    assertEquals("{\"original\":12,\"effective\":3}", json.at("/n-samples/copa").toString());
    assertEquals(2, TestFiles.names(out).size());
    Path written = out.resolve(other.toString().replace("/", "__"));
    assertEquals(
        List.of("eval_results.yaml", "model-index.md", "results.json", "samples_copa.jsonl"),
        TestFiles.names(written));
    assertEquals(
        """
        ---
        model-index:
        - name: other
          results:
          - task:
              type: text-generation
              name: Text Generation
            dataset:
              name: copa
              type: aps/super_glue
              config: copa
              split: validation
              args:
                num_few_shot: 0
                items: 3
                of: 12
            metrics:
            - type: acc
              name: acc
              value: 66.6667
        ---
        """,
        Files.readString(written.resolve("model-index.md")));
    String hub = Files.readString(written.resolve("eval_results.yaml"));
    assertTrue(
        hub.matches(
            """
            - dataset:
                id: aps/super_glue
                task_id: copa
              value: 66\\.6667
              date: "20..-..-.."
              notes: acc, 0-shot, 3 of 12 items, standard error 33\\.3333, by laco .*
            """),
        hub);
    assertEquals(3, Files.readAllLines(written.resolve("samples_copa.jsonl")).size());
    String page = Files.readString(folder.resolve("page.html"));
    assertTrue(page.contains(">66.67 % ± 33.33 %<"), page);
    assertTrue(page.contains(">100.00 %<"), page);
    assertTrue(page.contains(">Answers that changed<"), page);
    assertTrue(page.contains(">Perplexity on "), page);
    assertTrue(page.contains(">Tokens per second<"), page);
    Files.delete(other);
  }

  @Test
  void theTableOfTasksHasThePerplexityOfAText() {
    ProgramRun run =
        Laco.run("eval", Fixtures.STORYTELLER, "--tasks=laco_copy,perplexity", "--limit=1");
    run.succeeded();
    assertTrue(run.out().matches("(?s).*\\Rperplexity +perplexity +43\\.\\d+ .*"), run.out());
    ProgramRun alone = Laco.run("eval", Fixtures.STORYTELLER, "--tasks=perplexity");
    assertEquals(2, alone.code());
    assertTrue(alone.err().contains("expected a task beside it"), alone.err());
  }

  @Test
  void aDumpIsOfOneModelAlone() {
    Path dump = folder.resolve("dump.safetensors");
    ProgramRun pair =
        Laco.run("eval", Fixtures.STORYTELLER, "--against", Fixtures.STORYTELLER, "--dump", dump);
    assertEquals(2, pair.code());
    assertTrue(pair.err().startsWith("laco: --dump is of one model"), pair.err());
    assertFalse(Files.exists(dump));
  }

  @Test
  void oneItemHasNoStandardErrorInTheResultsForTheHub() throws IOException {
    Object[] asked = {
      "eval",
      Fixtures.STORYTELLER,
      "--tasks=copa,laco_copy",
      "--data",
      Path.of("src/test/resources/tasks"),
      "--limit=1",
      "--out",
      folder,
      "--quiet"
    };
    Laco.run(asked).succeeded();
    Path written = folder.resolve(Fixtures.STORYTELLER.toString().replace("/", "__"));
    String hub = Files.readString(written.resolve("eval_results.yaml"));
    assertTrue(hub.contains("notes: acc, 0-shot, 1 of 12 items, by laco "), hub);
    assertFalse(hub.contains("laco_copy"), hub);
  }

  @Test
  void aTextIsComparedOnTheSameTokensAndInTheSameWindows() throws IOException {
    // A pruned model has no evaluation.txt of its own: it is measured on that of the first model.
    Path other = Files.createDirectory(folder.resolve("other"));
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      if (!name.equals("evaluation.txt")) {
        Path file = Fixtures.STORYTELLER.resolve(name).toAbsolutePath();
        Files.createSymbolicLink(other.resolve(name), file);
      }
    }
    Path html = folder.resolve("page.html");
    Object[] asked = {
      "eval", Fixtures.STORYTELLER, "--window", 128, "--against", other, "--html", html, "--quiet"
    };
    String out = Laco.run(asked).succeeded().out();
    String page = Files.readString(html);
    String perplexity = out.split(" +")[1];
    assertTrue(page.contains("with a perplexity of " + perplexity + "."), page);
    // A point of each of two models for each window, and one in the legend.
    assertEquals(2 * (13 + 1), page.split("<path transform=", -1).length - 1);
    assertTrue(
        out.contains(
            ", x1.0000 of the dense model's (95 % interval x1.0000 to x1.0000, by 13 windows)"),
        out);
    assertEquals(2, out.split("per byte ", -1).length - 1, out);
  }

  @Test
  void nothingOfOthersIsReplaced() throws IOException {
    Path other = TestCheckpoints.copy("gemma2_std", folder.resolve("other"));
    Path weights = other.resolve("model.safetensors");
    byte[] before = Files.readAllBytes(weights);
    Path tokens = Fixtures.tokens(folder, "llama_untied_gqa", "eval");
    Object[] eval = {"eval", Fixtures.model("llama_untied_gqa"), "--tokens", tokens, "--quiet"};
    refused("is no dump of laco's", eval, "--dump", weights);
    Path page = other.resolve("page.html");
    refused("lies inside the model of --against", eval, "--against", other, "--html", page);
    assertArrayEquals(before, Files.readAllBytes(weights));
    Path dump = folder.resolve("dump.safetensors");
    for (int run = 0; run < 2; run++) {
      Laco.run(with(eval, "--dump", dump)).succeeded();
    }
    Path results =
        folder
            .resolve("results")
            .resolve(Fixtures.STORYTELLER.toString().replace("/", "__"))
            .resolve("results.json");
    Files.createDirectories(results.resolveSibling(""));
    Files.writeString(results, "{\"results\": \"of another program\"}");
    Object[] tasks = {"eval", Fixtures.STORYTELLER, "--tasks=laco_copy", "--limit=1", "--quiet"};
    refused("holds no results of tasks", tasks, "--out", folder.resolve("results"));
    Files.delete(results);
    for (int run = 0; run < 2; run++) {
      Laco.run(with(tasks, "--out", folder.resolve("results"))).succeeded();
    }
  }

  /**
   * As it looks when the run is killed while it measures, or while it gives the files their names.
   */
  @ParameterizedTest
  @ValueSource(strings = {"", "samples_laco_sort.jsonl", "model-index.md", "eval_results.yaml"})
  void whatARunLeftThatWasKilledIsRemoved(String named) throws IOException {
    Path out = folder.resolve("results");
    Path results = out.resolve(Fixtures.STORYTELLER.toString().replace("/", "__"));
    Files.createDirectories(results.resolve(".laco-0123.new"));
    Files.writeString(results.resolve(".laco-0123.lock"), "samples_laco_copy.jsonl");
    Files.writeString(results.resolve(".laco-0123.new/samples_laco_copy.jsonl"), "half");
    if (!named.isEmpty()) {
      Files.createFile(results.resolve(named));
    }
    Laco.run(
            "eval", Fixtures.STORYTELLER, "--tasks=laco_copy", "--limit=1", "--quiet", "--out", out)
        .succeeded();
    Set<String> expected = new TreeSet<>(List.of("results.json", "samples_laco_copy.jsonl", named));
    expected.remove("");
    assertEquals(List.copyOf(expected), TestFiles.names(results));
  }

  /** The samples of two tasks are begun when the second model turns out to be damaged. */
  @Test
  void aRunThatFailsLeavesNoFolders() throws IOException {
    Path damaged = folder.resolve("damaged");
    try (Stream<Path> files = Files.list(Fixtures.STORYTELLER)) {
      Files.createDirectory(damaged);
      for (Path file : files.toList()) {
        Files.copy(file, damaged.resolve(file.getFileName()));
      }
    }
    TestCheckpoints.setElement(
        damaged, "model.layers.1.input_layernorm.weight", 0, Float.POSITIVE_INFINITY);
    ProgramRun run =
        Laco.run(
            "eval",
            Fixtures.STORYTELLER,
            "--tasks=laco_copy,laco_sort",
            "--limit=1",
            "--against",
            damaged,
            "--out",
            folder.resolve("a/b"));
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains("NaN or infinity"), run.err());
    assertEquals(List.of("damaged"), TestFiles.names(folder));
  }

  private static void refused(String why, Object[] command, Object... more) {
    ProgramRun run = Laco.run(with(command, more));
    assertEquals(2, run.code());
    assertTrue(run.err().contains(why), run.err());
  }

  private static Object[] with(Object[] command, Object... more) {
    return Stream.of(command, more).flatMap(Stream::of).toArray();
  }

  private static String item(String text, String last) {
    return JsonNodeFactory.instance.objectNode().put("text", text).put("last", last).toString();
  }
}
