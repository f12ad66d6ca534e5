package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A curve over sizes as a table, JSON and files. */
class SweepTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;

  private ProgramRun sweep(Path out, Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "sweep",
                MODEL,
                "--calibration",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--eval-tokens",
                Fixtures.tokens(folder, FIXTURE, "eval"),
                "--rule",
                "drop",
                "--out",
                out));
    arguments.addAll(List.of(more));
    return Laco.run(arguments.toArray());
  }

  @Test
  void everyPointIsInTheFolderAndIsAppliedWithoutASearch() throws IOException {
    Path out = folder.resolve("sweep");
    JsonNode json = sweep(out, "--layers", "7..6,4", "--compare", "last", "--json").json();
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
    ProgramRun again = sweep(out, "--layers", "7..6,4", "--compare", "last").succeeded();
    assertTrue(again.out().contains("search       known"), again.out());
    assertTrue(again.out().matches("(?s).* 6 +\\d+\\.\\d\\d +x\\d.*"), again.out());
    ProgramRun other = sweep(out, "--layers", "7..5");
    assertEquals(2, other.code());
    assertTrue(other.err().contains("holds the sweep of another request"), other.err());
  }

  @Test
  void sizesThatTheModelCannotHaveAreRefusedBeforeAnythingIsMade() {
    Path out = folder.resolve("none");
    for (String layers : List.of("8..6", "0..3", "3-5", "9")) {
      ProgramRun run = sweep(out, "--layers", layers);
      assertEquals(2, run.code(), run.err());
      assertTrue(run.err().contains("layers"), run.err());
    }
    assertEquals(2, sweep(out, "--layers", "5", "--ratios", "20%").code());
    assertEquals(2, sweep(out, "--compare", "best").code());
    assertFalse(Files.exists(out));
  }
}
