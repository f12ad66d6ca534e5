package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.WeightFile;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A pruned model that is trained, as a checkpoint. */
class HealTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;
  private Path pruned;
  private Path healed;

  @BeforeEach
  void prune() {
    pruned = folder.resolve("pruned");
    healed = folder.resolve("healed");
    Laco.run(
            "prune",
            MODEL,
            pruned,
            "--target-layers",
            6,
            "--rule",
            "drop",
            "--calibration",
            Fixtures.tokens(folder, FIXTURE, "calib"),
            "--eval-tokens",
            Fixtures.tokens(folder, FIXTURE, "eval"))
        .succeeded();
  }

  private ProgramRun heal(Path out, Object... more) {
    return Laco.run(arguments(out, more));
  }

  private Object[] arguments(Path out, Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "heal",
                pruned,
                out,
                "--heal-text",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--eval-tokens",
                Fixtures.tokens(folder, FIXTURE, "calib")));
    arguments.addAll(List.of(more));
    return arguments.toArray();
  }

  @Test
  void neitherOfBothModelsIsReplaced() throws IOException {
    Path teacher = TestCheckpoints.copy(FIXTURE, folder.resolve("teacher"));
    Map<String, String> before = TestFiles.tree(teacher);
    for (Path model : List.of(teacher, pruned)) {
      ProgramRun run = heal(model, "--teacher", teacher, "--heal-tokens", 64, "--overwrite");
      assertEquals(2, run.code(), run.err());
      assertTrue(run.err().contains(model + ": is itself the model"), run.err());
    }
    Path inside = teacher.resolve("report.json");
    ProgramRun run = heal(healed, "--teacher", teacher, "--heal-tokens", 64, "--report", inside);
    assertEquals(2, run.code(), run.err());
    assertTrue(
        run.err().contains("--report " + inside + ": lies inside the model of --teacher"),
        run.err());
    assertEquals(before, TestFiles.tree(teacher));
  }

  @Test
  void theCheckpointIsTheModelThatTheReportTellsOf() throws IOException {
    Object[] options = {
      "--teacher", MODEL, "--heal-tokens", 2000, "--step-tokens", 64, "--rate", 2e-3, "--json"
    };
    ProgramRun run = heal(healed, options);
    JsonNode json = run.json();
    assertEquals(json, Fixtures.read(folder.resolve("healed.report.json")));
    assertTrue(run.err().contains("held out"), run.err());
    assertEquals(9, json.at("/training/labelPasses").intValue());
    assertTrue(
        run.err().contains(", loss 0.85 KL + 0.15 nll (KL alone behind 9 passes over the text),"),
        run.err());
    String page = Files.readString(folder.resolve("healed.report.html"));
    for (JsonNode held : json.at("/training/heldOut")) {
      assertTrue(
          page.contains(
              ">" + String.format(Locale.ROOT, "%.4f", held.get("kl").doubleValue()) + "<"),
          page);
    }
    String card = Files.readString(healed.resolve("README.md"));
    assertTrue(card.contains("- Healed: trained on "), card);
    JsonNode quality = json.get("quality");
    assertTrue(
        quality.at("/after/kl").doubleValue() < 0.8 * quality.at("/before/kl").doubleValue(),
        quality.toString());
    assertMeasuredAsReported(healed, quality);
    Path again = folder.resolve("again");
    heal(again, options).succeeded();
    assertEquals(
        -1,
        Files.mismatch(healed.resolve("model.safetensors"), again.resolve("model.safetensors")));
  }

  /** The fixture has no tokenizer: all samples go on from first tokens of the text. */
  @Test
  void theTeachersOwnSamplesAndEachFileAreReportedByThemselves() throws IOException {
    Path calib = Fixtures.tokens(folder, FIXTURE, "calib");
    Path eval = Fixtures.tokens(folder, FIXTURE, "eval");
    Object[] options = {
      "--teacher",
      MODEL,
      "--heal-text",
      eval,
      "--heal-samples",
      2000,
      "--heal-tokens",
      600,
      "--step-tokens",
      64,
      "--rate",
      1e-3,
      "--json"
    };
    ProgramRun run = heal(healed, options);
    JsonNode training = run.json().get("training");
    assertTrue(training.get("text").textValue().endsWith(" samples of the original"), run.err());
    Set<String> domains = new TreeSet<>();
    JsonNode best = training.get("best");
    best.get("domains").fieldNames().forEachRemaining(domains::add);
    Set<String> known =
        Set.of("teacher samples", calib.getFileName().toString(), eval.getFileName().toString());
    assertTrue(domains.contains("teacher samples") && known.containsAll(domains), run.err());
    double sum = 0;
    long tokens = 0;
    for (JsonNode domain : best.get("domains")) {
      sum += domain.get("kl").doubleValue() * domain.get("tokens").longValue();
      tokens += domain.get("tokens").longValue();
    }
    assertEquals(best.get("kl").doubleValue(), sum / tokens, 1e-9);
    Path again = folder.resolve("again");
    heal(again, options).succeeded();
    assertEquals(
        -1,
        Files.mismatch(healed.resolve("model.safetensors"), again.resolve("model.safetensors")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"behind", "all"})
  void layersInFrontOfTheFirstGapAreTrainedWhereAllAre(String layers) {
    Object[] training = {
      "--heal-layers", layers, "--heal-tokens", 600, "--step-tokens", 64, "--rate", 1e-3, "--json"
    };
    List<Object> options = new ArrayList<>(List.of("--teacher", MODEL));
    options.addAll(List.of(training));
    JsonNode json = heal(healed, options.toArray()).succeeded().json();
    assertTrained(layers, json.at("/training"), healed);
    JsonNode quality = json.get("quality");
    assertTrue(
        quality.at("/after/kl").doubleValue() < quality.at("/before/kl").doubleValue(),
        quality.toString());

    // As the last stage of a prune.
    Path whole = folder.resolve("whole");
    Path calib = Fixtures.tokens(folder, FIXTURE, "calib");
    List<Object> prune =
        new ArrayList<>(
            List.of(
                "prune", MODEL, whole, "--target-layers", 6, "--rule", "drop", "--calibration"));
    prune.addAll(List.of(calib, "--eval-tokens", calib, "--heal-text", calib));
    prune.addAll(List.of(training));
    assertTrained(layers, Laco.run(prune.toArray()).succeeded().json().at("/heal/training"), whole);
  }

  private void assertTrained(String layers, JsonNode training, Path out) {
    Map<String, Safetensors.Tensor> before = Safetensors.read(pruned.resolve("model.safetensors"));
    Map<String, Safetensors.Tensor> after = Safetensors.read(out.resolve("model.safetensors"));
    int first = training.get("firstLayer").intValue();
    assertEquals(layers.equals("all"), first == 0, training.toString());
    before.forEach(
        (name, tensor) -> {
          Matcher layer = Pattern.compile("\\.layers\\.(\\d+)\\.").matcher(name);
          boolean trained = layer.find() && Integer.parseInt(layer.group(1)) >= first;
          boolean norm = name.equals("model.norm.weight");
          boolean same = Arrays.equals(tensor.bytes(), after.get(name).bytes());
          assertTrue(norm || same != trained, name + " with first layer " + first);
        });
  }

  @Test
  void adaptersAreMergedAndWritten() throws IOException {
    Path adapter = folder.resolve("adapter");
    Object[] options = {
      "--teacher",
      MODEL,
      "--heal-tokens",
      1000,
      "--step-tokens",
      64,
      "--rate",
      1e-2,
      "--lora",
      4,
      "--lora-alpha",
      6,
      "--adapter",
      adapter,
      "--json"
    };
    JsonNode json = heal(healed, options).json();
    assertEquals(4, json.at("/training/lora").intValue());
    JsonNode quality = json.get("quality");
    assertTrue(
        quality.at("/after/kl").doubleValue() < 0.9 * quality.at("/before/kl").doubleValue(),
        quality.toString());
    assertMeasuredAsReported(healed, quality);
    JsonNode config = Fixtures.read(adapter.resolve("adapter_config.json"));
    assertEquals(4, config.get("r").intValue());
    assertEquals(6, config.get("lora_alpha").intValue());
    int first = json.at("/training/firstLayer").intValue();
    assertEquals(first, config.at("/layers_to_transform/0").intValue());
    assertEquals(5, config.get("layers_to_transform").get(5 - first).intValue());
    Set<String> expected = new TreeSet<>();
    for (int layer = first; layer < 6; layer++) {
      // The names under which PEFT's own save_pretrained writes adapters of a Llama.
      for (String module :
          List.of(
              "self_attn.q_proj",
              "self_attn.k_proj",
              "self_attn.v_proj",
              "self_attn.o_proj",
              "mlp.gate_proj",
              "mlp.up_proj",
              "mlp.down_proj")) {
        String name = "base_model.model.model.layers." + layer + "." + module;
        expected.add(name + ".lora_A.weight");
        expected.add(name + ".lora_B.weight");
      }
    }
    Set<String> names = new TreeSet<>();
    try (WeightFile file = WeightFile.open(adapter.resolve("adapter_model.safetensors"))) {
      file.tensors().forEach(tensor -> names.add(tensor.name()));
    }
    assertEquals(expected, names);
    ProgramRun again = heal(folder.resolve("again"), options);
    assertEquals(2, again.code(), again.err());
    assertTrue(again.err().contains("holds an adapter"), again.err());
    ProgramRun whole = heal(folder.resolve("again"), "--teacher", MODEL, "--adapter", adapter);
    assertEquals(2, whole.code(), whole.err());
    assertTrue(whole.err().contains("give --lora, too"), whole.err());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--lora-alpha", 2).code());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--lora", 0).code());
    for (String option : List.of("--optimizer adamw_8bit", "--masters none")) {
      String[] words = option.split(" ");
      ProgramRun run = heal(healed, "--teacher", MODEL, "--lora", 4, words[0], words[1]);
      assertEquals(2, run.code(), run.err());
      assertTrue(run.err().contains(option + " and --lora exclude each other"), run.err());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"--label-share 0", "--optimizer adamw_8bit --masters none", "--lora 4"})
  void theLeastMemoryGivesTheSameWeights(String what) throws IOException {
    List<Object> options =
        new ArrayList<>(
            List.of(
                "--teacher", MODEL, "--heal-tokens", 1000, "--step-tokens", 64, "--rate", 1e-3));
    options.addAll(List.of(what.split(" ")));
    options.addAll(List.of("--device", "cpu"));
    heal(healed, options.toArray()).succeeded();
    Path least = folder.resolve("least");
    options.addAll(List.of("--memory", leastMemory(options)));
    ProgramRun run = heal(least, options.toArray()).succeeded();
    assertTrue(
        run.out().contains("one layer at a time") || run.out().contains(" in a file"), run.out());
    assertEquals(
        -1,
        Files.mismatch(healed.resolve("model.safetensors"), least.resolve("model.safetensors")));
  }

  /** The least memory in which a heal runs, as the error says that there is too little. */
  private String leastMemory(List<Object> options) {
    List<Object> none = new ArrayList<>(options);
    none.addAll(List.of("--memory", "1KB"));
    ProgramRun run = heal(folder.resolve("none"), none.toArray());
    assertEquals(4, run.code(), run.err());
    Matcher needed = Pattern.compile("buffers need ([0-9.]+) ([kM]B)").matcher(run.err());
    assertTrue(needed.find(), run.err());
    // The message has one digit behind the point.
    return Double.parseDouble(needed.group(1)) + 0.1 + needed.group(2);
  }

  @Test
  void withinATimeAHealTrainsAllLayersWhereMemorySuffices() {
    List<Object> options =
        new ArrayList<>(List.of("--teacher", MODEL, "--within", "2s", "--device", "cpu", "--json"));
    JsonNode ample = heal(healed, options.toArray()).succeeded().json();
    assertEquals(0, ample.at("/training/firstLayer").intValue());
    options.addAll(List.of("--memory", leastMemory(options)));
    JsonNode least = heal(folder.resolve("least"), options.toArray()).succeeded().json();
    assertTrue(least.at("/training/firstLayer").intValue() > 0, least.toString());
  }

  /** Memory that is free now and was not before, or no longer is, makes no other request. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Timeout(value = 180, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void layersThatWereChosenWithinATimeStayWhereMemoryChanges(boolean becomesLess) throws Exception {
    List<Object> ample = new ArrayList<>(List.of("--teacher", MODEL, "--within", "6s"));
    ample.addAll(List.of("--device", "cpu", "--json", "--state-every", "0.01s"));
    List<Object> all = new ArrayList<>(ample);
    all.addAll(List.of("--heal-layers", "all"));
    List<Object> scarce = new ArrayList<>(ample);
    scarce.addAll(List.of("--memory", leastMemory(all)));
    Object[] before = (becomesLess ? ample : scarce).toArray();
    Object[] after = (becomesLess ? scarce : ample).toArray();
    assertEquals(137, endedBy("KILL", 0, arguments(healed, before)));
    ProgramRun run = heal(healed, after).succeeded();
    assertTrue(run.err().contains("goes on behind step"), run.err());
    assertEquals(becomesLess, run.json().at("/training/firstLayer").intValue() == 0);
  }

  /** The line memory says what AdamW holds, and counts it. */
  @Test
  void thePlanCountsWhatAdamWHolds() {
    String what = "; AdamW has running means in 8 bits and no masters in f32";
    Object[] usual = {"--teacher", MODEL, "--heal-tokens", 64, "--rate", 1e-4};
    String full = heal(folder.resolve("full"), usual).succeeded().out();
    assertFalse(full.contains("AdamW has"), full);
    List<Object> options = new ArrayList<>(List.of(usual));
    options.addAll(List.of("--optimizer", "adamw_8bit", "--masters", "none"));
    String less = heal(healed, options.toArray()).succeeded().out();
    assertTrue(less.contains(what), less);
    assertTrue(megabytesOfBuffers(less) < megabytesOfBuffers(full), () -> full + less);
  }

  private static double megabytesOfBuffers(String out) {
    Matcher buffers = Pattern.compile("([0-9.]+) MB of buffers").matcher(out);
    assertTrue(buffers.find(), out);
    return Double.parseDouble(buffers.group(1));
  }

  @Test
  void anAdapterOfExpertsIsRefused() {
    Path mixture = Fixtures.model("mixtral");
    ProgramRun run =
        Laco.run(
            "heal",
            mixture,
            healed,
            "--teacher",
            mixture,
            "--lora",
            4,
            "--adapter",
            folder.resolve("adapter"));
    assertEquals(2, run.code(), run.err());
    assertTrue(run.err().contains("whose experts are no modules by themselves"), run.err());
  }

  private ProgramRun pruneAndHeal(Path out, Object... more) {
    return Laco.run(pruning(out, more)).succeeded();
  }

  private Object[] pruning(Path out, Object... more) {
    Path text = Fixtures.tokens(folder, FIXTURE, "calib");
    List<Object> arguments =
        new ArrayList<>(List.of("prune", MODEL, out, "--target-layers", 6, "--calibration", text));
    arguments.addAll(List.of("--fit-text", text, "--heal-text", text, "--eval-tokens", text));
    arguments.add("--json");
    arguments.addAll(List.of(more));
    return arguments.toArray();
  }

  @Test
  void aPruneEndsWithATraining() throws IOException {
    Object[] options = {
      "--rule", "drop", "--heal-tokens", 2000, "--step-tokens", 64, "--rate", 2e-3
    };
    ProgramRun run = pruneAndHeal(healed, options);
    assertTrue(
        run.err()
            .matches(
                "(?s).*\\R +heal +1 second +training of the layers behind the first gap on 2,000 tokens\\R.*"),
        run.err());
    JsonNode heal = run.json().get("heal");
    List<String> stages = heal.get("stages").findValuesAsText("stage");
    assertEquals("search", stages.getFirst());
    assertEquals("heal", stages.getLast());
    JsonNode best = heal.at("/training/best");
    assertTrue(
        best.get("kl").doubleValue() < 0.9 * heal.at("/training/heldOut/0/kl").doubleValue(),
        heal.toString());
    assertEquals(
        best.get("nll").doubleValue(),
        heal.get("stages").get(stages.size() - 1).get("meanNll").doubleValue());
    // What was measured is what was written.
    JsonNode alone =
        Laco.run("eval", healed, "--tokens", Fixtures.tokens(folder, FIXTURE, "calib"), "--json")
            .json();
    assertEquals(
        alone.get("perplexity").doubleValue(),
        run.json().at("/quality/pruned/perplexity").doubleValue(),
        1e-4 * alone.get("perplexity").doubleValue());
    // The plan is of the healed model.
    Path again = folder.resolve("again");
    Path plan = folder.resolve("plan.json");
    List<Object> planned = new ArrayList<>(List.of(options));
    planned.addAll(List.of("--plan", plan));
    pruneAndHeal(again, planned.toArray());
    Path applied = folder.resolve("applied");
    Laco.run("apply", plan, MODEL, applied).succeeded();
    String weights = "model.safetensors";
    assertEquals(-1, Files.mismatch(healed.resolve(weights), again.resolve(weights)));
    assertEquals(-1, Files.mismatch(healed.resolve(weights), applied.resolve(weights)));
  }

  /** A prune that names neither a rule nor a time nor a training ends with a short one. */
  @Test
  void aPruneTrainsByItselfBehindALargeFit() {
    Path text = Fixtures.randomTokens(folder.resolve("text.json"), 0, 250, 200);
    List<Object> arguments =
        new ArrayList<>(List.of("prune", MODEL, healed, "--json", "--target-layers", 6));
    arguments.addAll(List.of("--fit-text", text, "--fit-tokens", 16_384));
    arguments.addAll(List.of("--calibration", Fixtures.tokens(folder, FIXTURE, "calib")));
    arguments.addAll(List.of("--eval-tokens", Fixtures.tokens(folder, FIXTURE, "eval")));
    ProgramRun run = Laco.run(arguments.toArray());
    run.succeeded();
    assertTrue(run.err().contains("training of all layers on 4,096 tokens"), run.err());
    assertEquals(4096, run.json().at("/heal/training/tokens").intValue());
    assertFalse(Files.exists(folder.resolve("healed.heal")));
  }

  @Test
  void aFitBeforeATrainingLeavesOutWhatTheTrainingIsMeasuredOn() throws IOException {
    // Sixteen documents, of which a training holds two out.
    Path text = stories("text.txt", 0);
    Path other = stories("other.txt", 16);
    int all = fittedTokens(text, 4096);
    int seen = fittedTokens(text, 4096, "--heal-text", text, "--heal-tokens", 64);
    assertEquals(7.0 / 8, (double) seen / all, 0.03, seen + " of " + all + " tokens");
    // Other documents take their place where there are some.
    int few = all / 2;
    assertEquals(few, fittedTokens(text, few, "--heal-text", text, "--heal-tokens", 64));
    // What a training on other text is measured on is not fitted to anyway.
    assertEquals(all, fittedTokens(text, 4096, "--heal-text", other, "--heal-tokens", 64));
  }

  /** Writes sixteen documents of 40 words each. */
  private Path stories(String name, int first) throws IOException {
    String all = Files.readString(Fixtures.STORYTELLER.resolve("fit.txt"));
    String[] words = all.replace("---", " ").strip().split("\\s+");
    return Files.writeString(
        folder.resolve(name),
        IntStream.range(first, first + 16)
            .mapToObj(i -> String.join(" ", Arrays.copyOfRange(words, 40 * i, 40 * i + 40)))
            .collect(Collectors.joining("\n---\n")));
  }

  private int fittedTokens(Path text, int most, Object... training) {
    List<Object> arguments =
        new ArrayList<>(List.of("prune", Fixtures.STORYTELLER, healed, "--json", "--overwrite"));
    arguments.addAll(List.of("--target-layers", 14, "--rule", "fit"));
    arguments.addAll(List.of("--fit-text", text, "--fit-tokens", most));
    arguments.addAll(List.of(training));
    if (training.length > 0) {
      arguments.addAll(List.of("--step-tokens", 64, "--rate", 1e-4));
    }
    return Laco.run(arguments.toArray()).succeeded().json().at("/fit/tokens").intValue();
  }

  /**
   * Starts a training and sends it a signal once it has kept a new state and a moment has passed.
   */
  private int endedBy(String signal, int moment, Object... arguments) throws Exception {
    Path state = folder.resolve("healed.heal").resolve("state.json");
    String before = Files.exists(state) ? Files.readString(state) : "";
    Process process =
        ProgramRun.java(Main.class, arguments)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .redirectError(folder.resolve("err.txt").toFile())
            .start();
    while (process.isAlive() && (!Files.exists(state) || Files.readString(state).equals(before))) {
      Thread.sleep(1);
    }
    Thread.sleep(moment);
    new ProcessBuilder("kill", "-" + signal, Long.toString(process.pid())).start().waitFor();
    return process.waitFor();
  }

  @ParameterizedTest
  @ValueSource(strings = {"--label-share 0", "--optimizer adamw_8bit --masters none", "--lora 8"})
  @Timeout(value = 180, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void aHealThatWasEndedGoesOnAndGivesTheSameBytes(String what) throws Exception {
    List<Object> options =
        new ArrayList<>(List.of("--teacher", MODEL, "--heal-tokens", 6000, "--step-tokens", 64));
    options.addAll(List.of("--state-every", "0.01s"));
    options.addAll(List.of(what.split(" ")));
    Path whole = folder.resolve("whole");
    heal(whole, options.toArray()).succeeded();
    Random random = new Random();
    Object[] arguments = arguments(healed, options.toArray());
    assertEquals(137, endedBy("KILL", random.nextInt(60), arguments));
    assertEquals(130, endedBy("INT", random.nextInt(60), arguments));
    String last = Files.readAllLines(folder.resolve("err.txt")).getLast();
    Path plan = folder.resolve("healed.plan.json");
    assertTrue(last.contains("is in " + plan + "; laco apply " + plan + " " + pruned), last);
    Laco.run("apply", plan, pruned, folder.resolve("best")).succeeded();
    ProgramRun other = heal(healed, "--teacher", MODEL, "--heal-tokens", 5999);
    assertEquals(2, other.code(), other.err());
    assertTrue(other.err().contains("holds the state of another training"), other.err());
    ProgramRun run = Laco.run(arguments).succeeded();
    assertTrue(run.out().contains("goes on behind step"), run.out());
    assertSameTraining(whole, "/training/");
  }

  /**
   * Within a time the original writes what the text is short of. The same number of samples and of
   * tokens gives the same bytes, and so does the training that goes on after an end.
   */
  @Test
  @Timeout(value = 180, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void aTimeThatTheTextDoesNotFillIsWorthSamplesOfTheOriginal() throws Exception {
    // Of a model with a short context even a slow machine draws a round of samples in that time.
    Path original = TestCheckpoints.copy(FIXTURE, folder.resolve("original"));
    Path config = original.resolve("config.json");
    String context = "\"max_position_embeddings\": ";
    String usual = Files.readString(config);
    assertTrue(usual.contains(context + 256), usual);
    Files.writeString(config, usual.replace(context + 256, context + 32));
    Path text = Fixtures.randomTokens(folder.resolve("text.json"), 0, 32, 32);
    Path small = folder.resolve("small");
    List<Object> prune = new ArrayList<>(List.of("prune", original, small, "--rule", "drop"));
    prune.addAll(List.of("--target-layers", 6, "--calibration", text, "--eval-tokens", text));
    Laco.run(prune.toArray()).succeeded();
    List<Object> options = new ArrayList<>(List.of("heal", small, healed, "--teacher", original));
    options.addAll(List.of("--heal-text", text, "--eval-tokens", text, "--json"));
    List<Object> counted = new ArrayList<>(options);
    options.addAll(List.of("--within", "6s", "--state-every", "0.01s"));
    assertEquals(137, endedBy("KILL", 0, options.toArray()));
    JsonNode start = Fixtures.read(folder.resolve("healed.heal/state.json")).get("start");
    assertTrue(start.get("samples").longValue() > 0, start.toString());
    ProgramRun run = Laco.run(options.toArray()).succeeded();
    assertTrue(run.err().contains("goes on behind step"), run.err());
    assertEquals(start.get("samples"), run.json().at("/training/samples"));
    counted.set(2, folder.resolve("whole"));
    for (String count : List.of("samples", "tokens")) {
      counted.addAll(List.of("--heal-" + count, start.get(count).longValue()));
    }
    counted.addAll(List.of("--heal-layers", "all", "--rate", start.get("rate").doubleValue()));
    Laco.run(counted.toArray()).succeeded();
    String weights = "model.safetensors";
    assertEquals(
        -1, Files.mismatch(folder.resolve("whole").resolve(weights), healed.resolve(weights)));
  }

  /** What went on has the weights and the numbers of a training that nobody ended. */
  private void assertSameTraining(Path whole, String place) throws IOException {
    String weights = "model.safetensors";
    assertEquals(-1, Files.mismatch(whole.resolve(weights), healed.resolve(weights)));
    JsonNode report = Fixtures.read(folder.resolve("healed.report.json"));
    JsonNode expected = Fixtures.read(folder.resolve("whole.report.json"));
    for (String part : List.of("losses", "heldOut", "rates", "best")) {
      assertEquals(expected.at(place + part), report.at(place + part));
    }
    assertFalse(Files.exists(folder.resolve("healed.heal")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"align", "drop"})
  @Timeout(value = 180, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void aPruneThatWasEndedWhileItTrainedGoesOnAndGivesTheSameBytes(String rule) throws Exception {
    Object[] options = {
      "--rule", rule, "--heal-tokens", 6000, "--step-tokens", 64, "--state-every", "0.01s"
    };
    Path whole = folder.resolve("whole");
    pruneAndHeal(whole, options);
    Random random = new Random();
    Object[] arguments = pruning(healed, options);
    assertEquals(137, endedBy("KILL", random.nextInt(60), arguments));
    Path state = folder.resolve("healed.heal").resolve("state.json");
    // An end before the first state of the training is one behind search and fit.
    Files.delete(state);
    assertEquals(130, endedBy("INT", random.nextInt(60), arguments));
    String last = Files.readAllLines(folder.resolve("err.txt")).getLast();
    Path plan = folder.resolve("healed.plan.json");
    assertTrue(last.contains("is in " + plan + "; laco apply " + plan + " " + MODEL), last);
    assertTrue(last.endsWith("the same command again goes on with the training"), last);
    Laco.run("apply", plan, MODEL, folder.resolve("best")).succeeded();
    ProgramRun other = Laco.run(pruning(healed, "--rule", rule, "--heal-tokens", 5999));
    assertEquals(2, other.code(), other.err());
    assertTrue(other.err().contains("holds the state of another training"), other.err());
    ProgramRun heal = heal(healed, "--teacher", MODEL, "--heal-tokens", 6000);
    assertEquals(2, heal.code(), heal.err());
    ProgramRun run = Laco.run(arguments).succeeded();
    assertTrue(run.err().contains("search and fit of an earlier run are in"), run.err());
    assertTrue(run.err().contains("goes on behind step"), run.err());
    assertFalse(run.err().contains(" base  removed"), run.err());
    assertSameTraining(whole, "/heal/training/");
    JsonNode report = Fixtures.read(folder.resolve("healed.report.json"));
    JsonNode expected = Fixtures.read(folder.resolve("whole.report.json"));
    for (String part : List.of("trials", "blocks", "similarity", "quality", "plan")) {
      assertEquals(expected.get(part), report.get(part), part);
    }
    for (String part : List.of("matrices", "contenders", "rule")) {
      assertEquals(expected.at("/fit/" + part), report.at("/fit/" + part), part);
    }
    for (String file : List.of("laco_plan.json", "config.json")) {
      assertEquals(-1, Files.mismatch(whole.resolve(file), healed.resolve(file)), file);
    }
  }

  @Test
  @Timeout(value = 180, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void twoHealsDoNotShareAState() throws Exception {
    Object[] heal = arguments(healed, "--teacher", MODEL, "--heal-tokens", 64, "--rate", 1e-4);
    Object[] longer = arguments(healed, "--teacher", MODEL, "--heal-tokens", 10_000_000);
    Path lock = folder.resolve("healed.heal").resolve("lock");
    Process first =
        ProgramRun.java(Main.class, longer).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    try (BufferedReader lines = first.inputReader()) {
      // The training begins behind the lock.
      String line = lines.readLine();
      while (line != null && !line.contains("held out")) {
        line = lines.readLine();
      }
      assertNotNull(line);
      ProgramRun second = Laco.run(heal);
      assertEquals(4, second.code(), second.err());
      assertTrue(second.err().contains("another training keeps its state there"), second.err());
      assertTrue(Files.exists(lock));
    } finally {
      first.destroyForcibly().waitFor();
    }
    // What a killed heal leaves keeps nobody out.
    Laco.run(heal).succeeded();
    assertFalse(Files.exists(lock.getParent()));
  }

  @Test
  void theReportOfAnEarlierHealIsReplaced() throws IOException {
    Object[] options = {"--teacher", MODEL, "--heal-tokens", 64, "--rate", 1e-4};
    heal(healed, options).succeeded();
    Files.move(healed, folder.resolve("moved"));
    heal(healed, options).succeeded();
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void whatIsNotFittedIsHealedWithinATime(boolean behind) {
    String name = "mixtral";
    Path text = Fixtures.tokens(folder, name, "calib");
    List<Object> arguments =
        new ArrayList<>(List.of("prune", Fixtures.model(name), healed, "--rule", "drop"));
    arguments.addAll(List.of("--within", "4s", "--calibration", text, "--fit-text", text));
    arguments.addAll(List.of("--heal-text", text, "--eval-tokens", text, "--json"));
    if (behind) {
      arguments.addAll(List.of("--heal-layers", "behind"));
    }
    ProgramRun run = Laco.run(arguments.toArray());
    JsonNode json = run.json();
    assertFalse(json.has("fit"));
    String layers = behind ? "the layers behind the first gap" : "all layers";
    assertTrue(run.err().contains("training of " + layers + " until"), run.err());
    assertEquals(behind, json.at("/heal/training/firstLayer").intValue() > 0);
    JsonNode training = json.at("/heal/training");
    assertTrue(training.get("tokens").longValue() > 0, json.toString());
    assertEquals(4.0, json.at("/request/within").doubleValue());
    assertTrue(training.at("/best/kl").doubleValue() <= training.at("/heldOut/0/kl").doubleValue());
  }

  @Test
  void timesThatContradictEachOtherAreRefused() {
    assertEquals(2, Laco.run("prune", MODEL, healed, "--within", "9s", "--effort", "best").code());
    assertEquals(2, Laco.run("prune", MODEL, healed, "--within", "9s", "--heal-tokens", 9).code());
    ProgramRun fast = Laco.run("prune", MODEL, healed, "--effort", "fast", "--rule", "repair");
    assertEquals(2, fast.code());
    assertTrue(fast.err().contains("--effort fast chooses the rule: leave --rule out"), fast.err());
    ProgramRun usual = Laco.run("prune", MODEL, healed, "--effort", "normal", "--rule", "repair");
    assertTrue(usual.err().contains("--effort normal chooses the rule"), usual.err());
    ProgramRun best = Laco.run("prune", MODEL, healed, "--effort", "best", "--heal-tokens", 9);
    assertTrue(best.err().contains("--effort best trains on all of the text"), best.err());
  }

  @Test
  void aModelThatWasNotPrunedFromTheTeacherIsRefused() {
    ProgramRun run = heal(healed, "--teacher", Fixtures.model("llama_tied_rope3"));
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains("it was not pruned from it"), run.err());
    ProgramRun other = heal(healed, "--teacher", Fixtures.model("qwen3_qknorm"));
    assertEquals(3, other.code(), other.err());
    assertTrue(other.err().contains("--teacher must name the model"), other.err());
    Path headed = TestCheckpoints.copy(FIXTURE, folder.resolve("headed"));
    TestCheckpoints.setElement(headed, "lm_head.weight", 0, 0.5f);
    ProgramRun another = heal(healed, "--teacher", headed);
    assertEquals(3, another.code(), another.err());
    assertTrue(another.err().contains("lm_head.weight differs from that of"), another.err());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--rate", 2).code());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--label-share", -1).code());
    assertEquals(2, heal(healed).code());
    assertFalse(Files.exists(healed));
  }

  /** What {@code eval} says of a healed model is what its report says. */
  private void assertMeasuredAsReported(Path healed, JsonNode quality) {
    JsonNode alone =
        Laco.run("eval", healed, "--tokens", Fixtures.tokens(folder, FIXTURE, "calib"), "--json")
            .json();
    assertEquals(
        alone.get("perplexity").doubleValue(),
        quality.at("/after/perplexity").doubleValue(),
        1e-4 * alone.get("perplexity").doubleValue());
  }
}
