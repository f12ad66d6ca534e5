package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A curve over sizes as a table, JSON and files. */
class SweepTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  /** What a process ends with that is killed by SIGKILL. */
  private static final int SIGKILL = 128 + 9;

  @TempDir Path folder;

  private ProgramRun sweep(Path out, Object... more) {
    return Laco.run(arguments(out, more));
  }

  private Object[] arguments(Path out, Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "sweep",
                MODEL,
                "--calibration",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--eval-tokens",
                Fixtures.tokens(folder, FIXTURE, "eval"),
                "--out",
                out));
    arguments.addAll(List.of(more));
    return arguments.toArray();
  }

  @Test
  void aKilledSweepThatIsStartedAgainRepeatsNothingAndGivesTheSameModels() throws Exception {
    Object[] more = {
      "--layers=7..4",
      "--rule=fit",
      "--fit-text",
      Fixtures.tokens(folder, FIXTURE, "calib"),
      "--compute=f32",
      "--threads=1"
    };
    Path whole = folder.resolve("whole");
    sweep(whole, more).succeeded();
    Path killed = folder.resolve("killed");
    for (String step : List.of("search-4.json", "layers-7.safetensors")) {
      Process process = ProgramRun.java(Main.class, arguments(killed, more)).start();
      while (process.isAlive() && !Files.exists(killed.resolve(step))) {
        Thread.sleep(1);
      }
      process.destroyForcibly().waitFor();
      assertEquals(SIGKILL, process.exitValue(), "ended before it was killed behind " + step);
      assertFalse(Files.exists(killed.resolve("sweep.json")));
    }
    Map<String, FileTime> done = new TreeMap<>();
    for (String name : TestFiles.names(killed)) {
      if (!name.startsWith(".")) {
        done.put(name, Files.getLastModifiedTime(killed.resolve(name)));
      }
    }
    assertTrue(done.containsKey("dense.json"), done.toString());
    ProgramRun run = sweep(killed, more).succeeded();
    assertTrue(run.out().contains("search       known"), run.out());
    for (Map.Entry<String, FileTime> file : done.entrySet()) {
      // A plan comes behind its tensors: both are written again where the plan was not there yet.
      if (!file.getKey().endsWith(".safetensors")) {
        Path path = killed.resolve(file.getKey());
        assertEquals(file.getValue(), Files.getLastModifiedTime(path), path.toString());
      }
    }
    for (int layers = 7; layers >= 4; layers--) {
      for (String name : List.of("search-%d.json", "layers-%d.json", "layers-%d.safetensors")) {
        String file = String.format(Locale.ROOT, name, layers);
        // A fit that is no better than the model before it leaves no tensors.
        assertEquals(Files.exists(whole.resolve(file)), Files.exists(killed.resolve(file)), file);
        if (Files.exists(whole.resolve(file))) {
          assertEquals(-1, Files.mismatch(whole.resolve(file), killed.resolve(file)), file);
        }
      }
      String point = String.format(Locale.ROOT, "point-%d.json", layers);
      assertEquals(
          Fixtures.read(whole.resolve(point)).get("measured"),
          Fixtures.read(killed.resolve(point)).get("measured"));
    }
  }

  @Test
  void aSizeThatIsNoneIsNamedByItsOption() {
    long bytes = 0;
    try (Model model = Model.open(MODEL)) {
      bytes = model.checkpoint().weightBytes();
    }
    assertRefused("--layers 8: expected 1 to 7: the model has 8", "--layers=8..6");
    assertRefused("--layers 0: expected 1 to 7: the model has 8", "--layers=0..99999");
    assertRefused(
        "--ratios 0.01: expected at least one of the model's 8 layers", "--ratios=50%,1%");
    assertRefused(
        "--bytes 100000000000: expected less than the " + bytes + " bytes", "--bytes=100GB");
    assertRefused("--bytes 1000: the smallest, with one layer, has", "--bytes=1KB");
  }

  private void assertRefused(String message, String size) {
    ProgramRun run = sweep(folder.resolve("sweep"), size);
    assertEquals(2, run.code());
    assertTrue(run.err().startsWith("laco: " + message), run.err());
  }

  @Test
  void aModelOfOneLayerHasNoSizes() {
    Path one = PrunedFixture.oneLayer(folder.resolve("one"));
    for (String size : List.of("--layers=1", "--ratios=50%", "--quiet")) {
      ProgramRun run = Laco.run("sweep", one, "--out", folder.resolve("sweep"), size);
      assertEquals(2, run.code());
      assertTrue(run.err().startsWith("laco: a model of 1 layer has nothing to merge"), run.err());
    }
  }

  @Test
  void everyPointIsInTheFolderAndIsAppliedWithoutASearch() throws IOException {
    Path out = folder.resolve("sweep");
    JsonNode json =
        sweep(out, "--rule=drop", "--layers", "7..6,4", "--compare", "last", "--json").json();
    assertEquals(json, Fixtures.read(out.resolve("sweep.json")));
    assertEquals(3, json.get("points").size());
    assertEquals(3, json.get("peers").size());
    assertEquals(1 + 1 + 3 + 3, Files.readAllLines(out.resolve("sweep.csv")).size());
    for (JsonNode point : json.get("points")) {
      assertTrue(Files.exists(out.resolve(point.get("plan").textValue())), point.toString());
    }
    assertTrue(Files.readString(out.resolve("layers.svg")).contains(">last<"));
    Path pruned = folder.resolve("pruned");
    Laco.run("apply", out.resolve("layers-6.json"), MODEL, pruned).succeeded();
    JsonNode alone =
        Laco.run("eval", pruned, "--tokens", Fixtures.tokens(folder, FIXTURE, "eval"), "--json")
            .json();
    assertEquals(
        alone.get("meanNll").doubleValue(),
        json.at("/points/1/measured/meanNll").doubleValue(),
        1e-5);
    Path page = folder.resolve("page.html");
    ProgramRun again =
        sweep(out, "--rule=drop", "--layers", "7..6,4", "--compare", "last", "--html", page)
            .succeeded();
    assertTrue(Files.readString(page).contains("quality over size"));
    assertTrue(again.out().contains("search       known"), again.out());
    assertTrue(again.out().contains(" perplexity to dense, 7 to 4 layers"), again.out());
    assertTrue(again.out().matches("(?s).* 6 +\\d+\\.\\d\\d +x\\d.*"), again.out());
    ProgramRun other = sweep(out, "--rule=drop", "--layers", "7..5");
    assertEquals(2, other.code());
    assertTrue(other.err().contains("holds the sweep of another request"), other.err());
  }

  @Test
  void theSweepHasANameOfItsOwnBesideTheStrategyLaco() throws IOException {
    Path out = folder.resolve("sweep");
    ProgramRun run = sweep(out, "--rule=drop", "--layers=7", "--compare=laco").succeeded();
    assertTrue(run.out().lines().anyMatch(line -> line.matches("layers +sweep +laco")), run.out());
    List<String> rows = Files.readAllLines(out.resolve("sweep.csv"));
    assertEquals(1, rows.stream().filter(row -> row.startsWith("sweep,7,")).count());
    assertEquals(1, rows.stream().filter(row -> row.startsWith("laco,7,")).count());
    String picture = Files.readString(out.resolve("layers.svg"));
    assertTrue(picture.contains(">sweep<") && picture.contains(">laco<"), picture);
  }

  @Test
  void sizesThatTheModelCannotHaveAreRefusedBeforeAnythingIsMade() {
    Path out = folder.resolve("none");
    for (String layers : List.of("8..6", "0..3", "3-5", "9")) {
      ProgramRun run = sweep(out, "--rule=drop", "--layers", layers);
      assertEquals(2, run.code(), run.err());
      assertTrue(run.err().contains("layers"), run.err());
    }
    assertEquals(2, sweep(out, "--rule=drop", "--layers", "5", "--ratios", "20%").code());
    assertEquals(2, sweep(out, "--rule=drop", "--compare", "best").code());
    assertFalse(Files.exists(out));
  }
}
