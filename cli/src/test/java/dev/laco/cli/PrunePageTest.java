package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.apply.PlanApplier;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The page of a prune shows the numbers of its report. */
class PrunePageTest {
  @TempDir Path folder;
  private PrunedFixture fixture;

  @BeforeEach
  void writeTokens() {
    fixture = PrunedFixture.in(folder);
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  private static void assertShows(String page, Object what) {
    assertTrue(page.contains(what.toString()), () -> "no " + what + " in\n" + page);
  }

  @Test
  void aPageLiesBesideTheReportAndHasItsNumbers() throws IOException {
    Path eval = Fixtures.tokens(folder, PrunedFixture.NAME, "eval");
    fixture
        .prune(
            folder.resolve("out"),
            "--target-layers=6",
            "--rule=align",
            "--fit-text=" + eval,
            "--eval-tokens=" + eval)
        .succeeded();
    String page = Files.readString(folder.resolve("out.report.html"));
    JsonNode report = Fixtures.read(folder.resolve("out.report.json"));
    assertShows(
        page,
        format("%d → %d", report.get("layersIn").intValue(), report.get("layersOut").intValue()));
    for (String model : new String[] {"dense", "pruned"}) {
      double perplexity = report.at("/quality/" + model + "/perplexity").doubleValue();
      assertShows(page, format("%.2f", perplexity));
    }
    assertShows(page, format("%.4f", report.get("finalSimilarity").doubleValue()));
    int accepted = 0;
    for (JsonNode trial : report.get("trials")) {
      if (trial.get("accepted").booleanValue()) {
        accepted++;
        assertShows(page, format("%.6f", trial.get("mean").doubleValue()));
        assertShows(page, format("%.6f", trial.get("nll").doubleValue()));
      }
    }
    // Each block that went has a frame among the costs of all blocks, which tell more than merges.
    assertEquals(accepted, page.split("<rect [^>]*class=\"marked\"", -1).length - 1);
    assertFalse(page.contains("Merges that were tried"), page);
    assertShows(page, "What the removal of each block costs");
    assertShows(page, report.get("memory").textValue());
    assertShows(page, report.get("jobId").textValue());
    assertShows(page, report.at("/model/digest").textValue());
    for (JsonNode group : report.at("/quality/byPosition")) {
      String middle =
          format("%.0f", (group.get("first").intValue() + group.get("last").intValue()) / 2 + 1.0);
      assertShows(page, "predictions, " + middle + ": ");
    }
    assertShows(page, "From dropped to refitted, layer by layer");
    assertShows(page, format("%d matrices were fitted", report.at("/fit/matrices").size()));
    // One box for each layer of the original, one for each of the pruned model, and the legend's.
    assertEquals(
        report.get("layersIn").intValue() + report.get("layersOut").intValue() + 3,
        page.split("class=\"layer ", -1).length - 1);
  }

  @Test
  void aPageNeedsNeitherAScriptNorANetworkAndEscapesNames() throws IOException {
    Path odd = folder.resolve("<b>&\"model");
    Files.createSymbolicLink(odd, PrunedFixture.MODEL.toAbsolutePath());
    Path page = folder.resolve("page.html");
    Laco.run(
            "prune",
            odd,
            "--dry-run",
            "--calibration",
            fixture.calibration(),
            "--threshold=0.6",
            "--html",
            page)
        .succeeded();
    String html = Files.readString(page);
    assertFalse(html.contains("<b>"), html);
    assertShows(html, "<title>&lt;b&gt;&amp;&quot;model: ");
    assertFalse(html.contains("<script"), html);
    assertShows(html, "Merges that were tried");
    assertFalse(html.matches("(?s).*(src|href)=.*"), html);
    assertFalse(html.replace("http://www.w3.org/2000/svg", "").contains("http"), html);
  }

  @Test
  void aPageShowsHowBothModelsWriteOn() throws IOException {
    Path html = folder.resolve("page.html");
    JsonNode report =
        Laco.run(
                "prune",
                Fixtures.STORYTELLER,
                "--dry-run",
                "--from-plan",
                TestFiles.write(folder.resolve("plan.json"), withoutLayersFrom3(2)),
                "--rule=drop",
                "--samples=2",
                "--html",
                html,
                "--json")
            .json();
    String page = Files.readString(html);
    JsonNode samples = report.at("/quality/samples");
    assertEquals(2, samples.size());
    for (JsonNode sample : samples) {
      int same = sample.get("same").intValue();
      for (String model : new String[] {"original", "pruned"}) {
        assertEquals(32, sample.get(model).size());
        String token = sample.get(model).get(same).textValue();
        assertShows(
            page, "<mark>" + token.replace("\"", "&quot;").replace("'", "&#39;") + "</mark>");
      }
    }
    assertShows(page, format("→ %.1f\u00a0MB", report.get("bytesOut").longValue() / 1e6));
  }

  @Test
  void aModelThatIsNotCloseToTheOriginalIsToBeTrained() throws IOException {
    assertIsToBeTrained(6, "--rule=drop");
  }

  /** A short training that nobody asked for is no reason against a longer one. */
  @Test
  void aModelThatWasTrainedShortlyIsToBeTrainedFurther() throws IOException {
    String stories = Files.readString(Fixtures.STORYTELLER.resolve("fit.txt"));
    Path text = TestFiles.write(folder.resolve("text.txt"), stories + "\n---\n" + stories);
    String all = assertIsToBeTrained(12, "--fit-tokens=16384", "--fit-text=" + text);
    assertTrue(all.contains("training of all layers on 4,096 tokens"), all);
    String page = Files.readString(folder.resolve("weak.report.html"));
    assertFalse(page.contains("kept as it is"), page);
    assertShows(page, "kept, fitted and trained");
  }

  /**
   * Removes so many layers of the demo model, and finds the command that trains the result as the
   * next one, and on the page.
   *
   * @return what was printed
   */
  private String assertIsToBeTrained(int removed, String... options) throws IOException {
    Path weak = folder.resolve("weak");
    Path plan = TestFiles.write(folder.resolve("plan.json"), withoutLayersFrom3(removed));
    List<Object> arguments =
        new ArrayList<>(List.of("prune", Fixtures.STORYTELLER, weak, "--from-plan", plan));
    arguments.addAll(List.of(options));
    String all = JobProgressTest.printed(arguments.toArray());
    String train =
        format("laco heal %s HEALED --teacher %s --within 10m", weak, Fixtures.STORYTELLER);
    assertTrue(all.contains(format("next: %s, or laco eval %s", train, weak)), all);
    assertShows(Files.readString(folder.resolve("weak.report.html")), train);
    return all;
  }

  /** The demo model without so many layers from layer 3 on. */
  private static String withoutLayersFrom3(int layers) {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      return CollapsePlan.identity(PlanApplier.source(model.checkpoint()))
          .fold(2, layers, MergeRule.DROP, NormsPolicy.BASE)
          .toJson()
          .toString();
    }
  }

  @Test
  void aForeignFileInThePlaceOfThePageStays() throws IOException {
    Path page = folder.resolve("out.report.html");
    TestFiles.write(page, "<!DOCTYPE html><title>my notes</title>");
    ProgramRun refused = fixture.prune(folder.resolve("out"), "--target-layers=6", "--rule=drop");
    assertEquals(2, refused.code());
    assertShows(refused.err(), "out.report.html: is there and is no page of laco's");
    fixture
        .prune(folder.resolve("out"), "--target-layers=6", "--rule=drop", "--overwrite")
        .succeeded();
    // A page of an earlier run is replaced without being asked.
    fixture
        .prune(folder.resolve("new"), "--target-layers=7", "--rule=drop", "--html", page)
        .succeeded();
    assertShows(Files.readString(page), "of 8 layers");
  }

  @Test
  void aVerdictFollowsFromTheRatioOfPerplexities() {
    assertEquals(Verdict.CLOSE, Verdict.of(10, 11));
    assertEquals(Verdict.WEAKER, Verdict.of(10, 15));
    assertEquals(Verdict.MUCH_WEAKER, Verdict.of(10, 20));
    assertEquals(Verdict.DAMAGED, Verdict.of(10, 20.1));
    assertEquals(Verdict.DAMAGED, Verdict.of(10, Double.NaN));
  }
}
