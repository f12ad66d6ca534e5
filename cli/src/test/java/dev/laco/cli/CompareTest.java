package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** One table of many ways to one size. */
class CompareTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;
  private Path calibration;
  private Path evaluation;

  @BeforeEach
  void writeTokens() {
    calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    evaluation = Fixtures.tokens(folder, FIXTURE, "eval");
  }

  private ProgramRun compare(Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "compare",
                MODEL,
                "--calibration",
                calibration,
                "--eval-tokens",
                evaluation,
                "--compute",
                "f32"));
    arguments.addAll(List.of(more));
    return Laco.run(arguments.toArray());
  }

  @Test
  void everyStrategyIsMeasuredAsItsPlanWouldBe() {
    JsonNode json = compare("--target-layers", 6, "--json").succeeded().json();
    Set<String> seen = new HashSet<>();
    double before = 0;
    for (JsonNode row : json.get("strategies")) {
      seen.add(row.get("strategy").textValue());
      assertEquals(6, row.get("plan").get("layers").size());
      double nll = row.get("pruned").get("meanNll").doubleValue();
      assertTrue(nll >= before);
      before = nll;
      Path plan = TestFiles.write(folder.resolve("plan.json"), row.get("plan").toString());
      Path out = folder.resolve("out");
      Laco.run("apply", plan, MODEL, out, "--overwrite").succeeded();
      JsonNode alone =
          Laco.run("eval", out, "--tokens", evaluation, "--compute", "f32", "--json").json();
      assertEquals(alone.get("meanNll").doubleValue(), nll, 1e-5);
    }
    assertEquals(
        Set.of(
            "laco",
            "paper-replace",
            "paper-rdsc",
            "shortgpt",
            "angular",
            "sleb",
            "sliding-window",
            "last"),
        seen);
    assertEquals(json.get("dense").get("tokens"), json.at("/strategies/0/pruned/tokens"));
  }

  @Test
  void theTableAndThePageHaveALineForEachStrategyThatWasNamed() throws IOException {
    Path html = folder.resolve("page.html");
    ProgramRun run =
        compare("--strategies", "last,shortgpt", "--html", html, "--quiet").succeeded();
    List<String> lines = run.out().lines().toList();
    assertEquals(5, lines.size(), run.out());
    String page = Files.readString(html);
    for (String line : lines.subList(2, 4)) {
      for (String cell : line.strip().split(" {2,}| (?=-)")) {
        assertTrue(page.contains(">" + cell + "</td>"), cell + " in " + page);
      }
    }
    // A box for each layer of the original in each line, and two in the legend.
    assertEquals(2 * 8 + 2, page.split("class=\"layer ", -1).length - 1);
    assertTrue(lines.getFirst().startsWith("dense  "), run.out());
    assertTrue(lines.get(1).matches("strategy +similarity +kl +perplexity .*"));
    assertTrue(
        lines.stream().anyMatch(line -> line.matches("last .* x\\d\\.\\d+ .* 0-4 7")), run.out());
    assertEquals("", run.err());
  }

  @Test
  void whatCannotReachTheSizeIsSaidAndLeftOut() {
    ProgramRun run =
        compare("--target-layers", 1, "--strategies", "last,sliding-window", "--quiet").succeeded();
    assertEquals(3, run.out().lines().count());
    assertTrue(run.err().contains("warning: sliding-window: "), run.err());
    JsonNode json =
        compare("--target-layers", 1, "--strategies", "last,sliding-window", "--json")
            .succeeded()
            .json();
    assertEquals("sliding-window", json.at("/leftOut/0/strategy").textValue());
    assertFalse(json.at("/leftOut/0/reason").textValue().isEmpty());
    assertEquals(1, json.get("leftOut").size());
    assertTrue(json.get("warnings").isEmpty(), json.toString());
  }

  @Test
  void withoutATextThereIsNothingToCompareBy() {
    ProgramRun run = Laco.run("compare", MODEL, "--calibration", calibration);
    assertEquals(2, run.code());
    assertTrue(run.err().contains("give --eval-tokens FILE.json"), run.err());
    assertEquals(2, compare("--strategies", "best").code());
  }
}
