package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.ByteSize;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF files that llama.cpp's converter made of the fixtures, as MODEL. */
class GgufTest {
  @TempDir Path folder;

  /** Lies beside the test's folder, where nothing else may be. */
  @TempDir Path texts;

  private static Path gguf(String name) {
    return Fixtures.RESOURCES.resolve("gguf").resolve(name + ".gguf");
  }

  @ParameterizedTest
  @CsvSource({"llama_tied_rope3, bf16", "llama_mha_bias_f16, f16"})
  void statesAndLogitsAreThoseOfTheStoredFloat64Run(String fixture, String type) {
    Path dump = folder.resolve("states.safetensors");
    Path tokens = Fixtures.tokens(folder, fixture, "eval");
    Path model = gguf(fixture + "." + type);
    Laco.run("eval", model, "--tokens", tokens, "--compute", "f32", "--dump", dump).succeeded();
    Map<String, Safetensors.Tensor> found = Safetensors.read(dump);
    Map<String, Safetensors.Tensor> stored =
        Safetensors.read(Fixtures.folder(fixture).resolve("reference.safetensors"));
    for (int i = 0; i < Fixtures.tokens(fixture, "eval").size(); i++) {
      EvalTest.assertClose(stored, found, i + ".final_hidden");
      EvalTest.assertClose(stored, found, i + ".logits");
    }
  }

  /** The same trials as on the folder of which the file was made, and the same result. */
  @Test
  void aPruneOfAGgufFileIsThatOfTheFolder() {
    String fixture = "llama_tied_rope3";
    JsonNode ofFolder = pruned(fixture, Fixtures.model(fixture), folder.resolve("a"));
    JsonNode ofFile = pruned(fixture, gguf(fixture + ".bf16"), folder.resolve("b"));
    assertEquals(ofFolder.get("trials"), ofFile.get("trials"));
    assertEquals(ofFolder.at("/quality/dense"), ofFile.at("/quality/dense"));
    Path tokens = folder.resolve(fixture + ".eval.json");
    // Norms are f32 in the file and bf16 in the folder, so that merged ones are rounded otherwise.
    double expected = nll(folder.resolve("a"), tokens);
    assertEquals(expected, nll(folder.resolve("b"), tokens), 1e-4 * expected);
    JsonNode config = Fixtures.read(folder.resolve("b/config.json"));
    assertEquals("LlamaForCausalLM", config.get("architectures").get(0).textValue());
    assertEquals("llama3", config.get("rope_scaling").get("rope_type").textValue());
  }

  /** Quantised weights become f32, which the written folder has. */
  @ParameterizedTest
  @CsvSource({"llama_untied_gqa", "qwen3_qknorm", "phi3_std"})
  void aQuantisedFileIsPruned(String fixture) {
    Path out = folder.resolve("out");
    JsonNode report = pruned(fixture, gguf(fixture + ".q8_0"), out);
    double said = report.at("/quality/pruned/meanNll").doubleValue();
    assertEquals(said, nll(out, folder.resolve(fixture + ".eval.json")), 1e-6 * said);
    JsonNode inspected = Laco.run("inspect", out, "--json").succeeded().json();
    assertEquals("f32", inspected.get("dtype").textValue());
    assertFalse(TestFiles.names(out).contains("tokenizer.json"));
  }

  private JsonNode pruned(String fixture, Path model, Path out, Object... more) {
    Path calibration = Fixtures.tokens(folder, fixture, "calib");
    Path evaluation = Fixtures.tokens(folder, fixture, "eval");
    Path report = folder.resolve("report.json");
    List<Object> command = new ArrayList<>();
    Collections.addAll(
        command,
        "prune",
        model,
        out,
        "--threshold",
        0.9,
        "--merge-layers",
        3,
        "--interval",
        2,
        "--rule",
        "mean",
        "--calibration",
        calibration,
        "--eval-tokens",
        evaluation,
        "--compute",
        "f32",
        "--report",
        report,
        "--overwrite");
    Collections.addAll(command, more);
    Laco.run(command.toArray()).succeeded();
    return Laco.withoutTimings(Fixtures.read(report));
  }

  @Test
  void theSizeBeforeIsThatOfTheFile() {
    Path model = gguf("llama_untied_gqa.q8_0");
    String was;
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      was = ", was " + ByteSize.show(checkpoint.totalBytes());
    }
    Path tokens = Fixtures.tokens(folder, "llama_untied_gqa", "calib");
    Path out = folder.resolve("out");
    Object[] prune = {"prune", model, out, "--target-layers", 3, "--calibration", tokens};
    List<Object> command = new ArrayList<>(List.of(prune));
    Collections.addAll(command, "--eval-tokens", tokens, "--rule", "drop");
    String pruned = Laco.run(command.toArray()).succeeded().out();
    assertTrue(pruned.lines().anyMatch(line -> line.endsWith(was)), pruned);
    Path again = folder.resolve("again");
    Path plan = out.resolve("laco_plan.json");
    String applied = Laco.run("apply", plan, model, again).succeeded().out();
    assertTrue(applied.lines().anyMatch(line -> line.endsWith(was)), applied);
  }

  @Test
  void sizesOfAReportAreThoseOfTheFiles() {
    String fixture = "llama_untied_gqa";
    Path model = gguf(fixture + ".q8_0");
    Path file = folder.resolve("out.gguf");
    Path out = folder.resolve("out");
    String intoFile = smaller(fixture, file, "--target-layers", 3, "--rule", "drop");
    assertSizes(model, file);
    String sizes = ByteSize.show(bytes(file)) + " of " + ByteSize.show(bytes(model));
    assertTrue(verdict(intoFile).endsWith(", " + sizes), intoFile);
    assertFalse(intoFile.contains("llama-quantize"), intoFile);
    String intoFolder = smaller(fixture, out, "--target-layers", 3, "--rule", "drop");
    assertSizes(model, out);
    String more = ByteSize.show(bytes(out)) + ", was " + ByteSize.show(bytes(model));
    assertTrue(verdict(intoFolder).endsWith(", " + more), intoFolder);
    String why = "the original's " + ByteSize.show(bytes(model)) + ": a folder has no quantised";
    assertTrue(intoFolder.contains(why), intoFolder);
    String export = "laco export " + out + " " + folder.resolve("out.gguf") + "; llama-quantize ";
    assertTrue(intoFolder.contains(export), intoFolder);
    String wide = smaller(fixture, file, "--target-layers", 7, "--rule", "mean", "--dtype", "f32");
    assertSizes(model, file);
    assertTrue(bytes(file) > bytes(model), wide);
    assertTrue(wide.contains(" new in f32\n"), wide);
    assertTrue(wide.contains("  llama-quantize --allow-requantize " + file + " "), wide);
  }

  private static String verdict(String lines) {
    return lines.lines().filter(line -> line.startsWith("verdict")).findFirst().orElseThrow();
  }

  private static long bytes(Path model) {
    return Laco.run("inspect", model, "--json").succeeded().json().get("bytes").longValue();
  }

  private void assertSizes(Path model, Path out) {
    JsonNode report = Fixtures.read(folder.resolve("report.json"));
    assertEquals(bytes(model), report.at("/model/bytes").longValue());
    assertEquals(bytes(out), report.get("bytesOut").longValue());
  }

  /** What a prune to a size says. */
  private String smaller(String fixture, Path out, Object... how) {
    List<Object> command =
        new ArrayList<>(List.of("prune", gguf(fixture + ".q8_0"), out, "--overwrite"));
    Collections.addAll(command, how);
    Collections.addAll(command, "--calibration", Fixtures.tokens(folder, fixture, "calib"));
    Collections.addAll(command, "--eval-tokens", Fixtures.tokens(folder, fixture, "eval"));
    Collections.addAll(command, "--report", folder.resolve("report.json"));
    return Laco.run(command.toArray()).succeeded().out();
  }

  @Test
  void aSizeInBytesIsThatOfWhatIsWritten() {
    String fixture = "llama_untied_gqa";
    Path file = folder.resolve("out.gguf");
    smaller(fixture, file, "--target-layers", 3, "--rule", "drop");
    long three = bytes(file);
    assertEquals(3, depth(fixture, file, three, "--rule", "drop"));
    assertEquals(2, depth(fixture, file, three - 1, "--rule", "drop"));
    assertEquals(3, depth(fixture, file, three, "--rule", "mean"));
    // New matrices take four bytes for each element in place of one, and any may be new.
    long all = bytes(gguf(fixture + ".q8_0"));
    int layers = depth(fixture, file, all, "--rule", "mean", "--dtype", "f32");
    assertTrue(layers < 7 && bytes(file) <= all, "" + layers);
    Path out = folder.resolve("out");
    smaller(fixture, out, "--target-layers", 3, "--rule", "drop", "--dtype", "f16");
    long folded = bytes(out);
    assertEquals(3, depth(fixture, out, folded, "--rule", "drop", "--dtype", "f16"));
    assertEquals(2, depth(fixture, out, folded - 1, "--rule", "drop", "--dtype", "f16"));
  }

  private int depth(String fixture, Path out, long bytes, Object... how) {
    List<Object> command = new ArrayList<>(List.of("--target-bytes", bytes + "B"));
    Collections.addAll(command, how);
    smaller(fixture, out, command.toArray());
    return Fixtures.read(folder.resolve("report.json")).get("layersOut").intValue();
  }

  private static double nll(Path model, Path tokens) {
    return Laco.run("eval", model, "--tokens", tokens, "--compute", "f32", "--json")
        .succeeded()
        .json()
        .get("meanNll")
        .doubleValue();
  }

  @Test
  void anExportedFileIsTheModel() {
    Path out = folder.resolve("out.gguf");
    Laco.run("export", Fixtures.STORYTELLER, out).succeeded();
    ProgramRun original = Laco.run("eval", Fixtures.STORYTELLER, "--max-length", 64, "--quiet");
    ProgramRun exported =
        Laco.run(
            "eval",
            out,
            "--max-length",
            64,
            "--quiet",
            "--text",
            Fixtures.STORYTELLER.resolve("evaluation.txt"));
    assertEquals(original.succeeded().out(), exported.succeeded().out());
    JsonNode told = Laco.run("inspect", out, "--json").succeeded().json();
    assertEquals("gpt-2", told.get("metadata").get("tokenizer.ggml.pre").textValue());
    ProgramRun again = Laco.run("export", Fixtures.STORYTELLER, out);
    assertEquals(2, again.code());
    assertTrue(again.err().contains("--overwrite"), again.err());
    Laco.run("export", Fixtures.STORYTELLER, out, "--overwrite").succeeded();
    Path notes = TestFiles.write(texts.resolve("notes"), "mine");
    ProgramRun other = Laco.run("export", Fixtures.STORYTELLER, notes, "--overwrite");
    assertEquals(2, other.code());
    assertTrue(other.err().contains("replaces a GGUF file and nothing else"), other.err());
    Laco.run("export", out, folder.resolve("small.gguf"), "--dtype", "q8_0").succeeded();
    assertEquals(2, TestFiles.names(folder).size(), TestFiles.names(folder)::toString);
  }

  /** The file of another gets the name when the export has begun and gives its first warning. */
  @ParameterizedTest
  @ValueSource(strings = {"", "--overwrite"})
  void anExportDoesNotReplaceWhatCameToBeThereMeanwhile(String overwrite) throws IOException {
    Path out = folder.resolve("out.gguf");
    StringWriter err =
        new StringWriter() {
          @Override
          public void write(String text, int from, int length) {
            if (getBuffer().isEmpty()) {
              TestFiles.write(out, "mine");
            }
            super.write(text, from, length);
          }
        };
    List<String> command =
        new ArrayList<>(List.of("export", Fixtures.model("qwen2_bias").toString(), "" + out));
    if (!overwrite.isEmpty()) {
      command.add(overwrite);
    }
    int code =
        Main.run(
            new PrintWriter(new StringWriter()),
            new PrintWriter(err),
            command.toArray(String[]::new));
    assertEquals(2, code, err::toString);
    String why = overwrite.isEmpty() ? "came to be there meanwhile" : "replaces a GGUF file";
    assertTrue(err.toString().contains("warning"), err::toString);
    assertTrue(err.toString().contains(why), err::toString);
    assertEquals("mine", Files.readString(out));
    assertEquals(List.of("out.gguf"), TestFiles.names(folder));
  }

  /** A pruned file predicts what the run said, where new matrices are not rounded to 8 bits. */
  @Test
  void aFileIsPrunedToAFile() {
    String fixture = "gemma3_std";
    Path out = folder.resolve("out.gguf");
    JsonNode report = pruned(fixture, gguf(fixture + ".q8_0"), out, "--dtype", "f32");
    double said = report.at("/quality/pruned/meanNll").doubleValue();
    assertEquals(said, nll(out, folder.resolve(fixture + ".eval.json")), 1e-6 * said);
    ProgramRun refused =
        Laco.run("prune", gguf("qwen2_bias.q8_0"), folder.resolve("x"), "--dtype", "q8_0");
    assertEquals(2, refused.code());
    assertTrue(refused.err().contains("OUT.gguf"), refused.err());
    ProgramRun sharded =
        Laco.run(
            "prune", gguf("qwen2_bias.q8_0"), folder.resolve("x.gguf"), "--max-shard-size", "1MB");
    assertEquals(2, sharded.code());
    assertTrue(sharded.err().contains("--max-shard-size is of a folder"), sharded.err());
  }

  /** Attention of grouped queries in an OLMoE is what no choice of layers changes. */
  @Test
  void whatNoFileCanHoldIsSaidBeforeTheWork() {
    Path model = Fixtures.model("olmoe");
    Path out = folder.resolve("out.gguf");
    for (Object[] command :
        new Object[][] {
          {"prune", model, out, "--rule", "drop"}, {"heal", model, out, "--teacher", model}
        }) {
      ProgramRun run = Laco.run(command);
      assertEquals(3, run.code(), run.err());
      assertTrue(run.err().contains("grouped queries cannot be written as GGUF"), run.err());
      assertEquals(1, run.err().lines().count(), run.err());
      assertEquals("", run.out());
    }
    assertEquals(List.of(), TestFiles.names(folder));
  }

  /** Which layers llama.cpp rotates is known when it is known which layers stay. */
  @Test
  void aModelThatAFileCannotHoldIsKeptAsAPlan() {
    String fixture = "smollm3_std";
    Path model = gguf(fixture + ".q8_0");
    Path given = texts.resolve("plan.json");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      TestFiles.write(
          given,
          CollapsePlan.identity(PlanApplier.source(checkpoint))
              .fold(0, 1, MergeRule.parse("drop"), NormsPolicy.BASE)
              .toJsonText());
    }
    Path out = folder.resolve("out.gguf");
    Path plan = folder.resolve("out.gguf.plan.json");
    ProgramRun run =
        Laco.run(
            "prune",
            model,
            out,
            "--from-plan",
            given,
            "--rule",
            "drop",
            "--calibration",
            Fixtures.tokens(texts, fixture, "calib"),
            "--eval-tokens",
            Fixtures.tokens(texts, fixture, "eval"));
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains("is in " + plan + "; laco prune "), run.err());
    assertTrue(run.err().contains("--from-plan " + plan + " goes on from it"), run.err());
    assertEquals(List.of("out.gguf.plan.json"), TestFiles.names(folder));
    Path pruned = folder.resolve("pruned");
    Laco.run("apply", plan, model, pruned).succeeded();
    assertEquals(
        Fixtures.read(plan).get("layers").size(),
        Fixtures.read(pruned.resolve("config.json")).get("num_hidden_layers").intValue());
  }

  @Test
  void aFileThatOnlyBeginsAsGgufIsRefused() {
    Path model = TestFiles.write(folder.resolve("m.gguf"), "GGUF");
    ProgramRun run = Laco.run("inspect", model);
    assertEquals(3, run.code());
    assertTrue(run.err().contains("m.gguf: the version"), run.err());
  }
}
