package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Where users fool themselves they are told, and the report tells it, too. */
class WarningsTest {
  private static final Path MODEL = PrunedFixture.MODEL;

  @TempDir Path folder;
  private PrunedFixture fixture;

  @BeforeEach
  void writeCalibration() {
    fixture = PrunedFixture.in(folder);
  }

  private ProgramRun prune(Object... more) {
    return fixture.prune(with(new Object[] {"--dry-run", "--json", "--quiet"}, more)).succeeded();
  }

  private static List<String> warnings(ProgramRun run) {
    List<String> warnings = new ArrayList<>();
    run.json().get("warnings").forEach(warning -> warnings.add(warning.textValue()));
    assertEquals(
        warnings.stream().map(warning -> "laco: warning: " + warning).toList(),
        run.err().lines().toList());
    return warnings;
  }

  /** Lists of token ids that differ from list to list, and from seed to seed. */
  private Path tokens(String name, int seed, int lists, int length) {
    return Fixtures.randomTokens(folder.resolve(name), seed, lists, length);
  }

  @Test
  void measuringOnTheTextThatWasFittedIsAWarningWhateverTheFileIsCalled() throws IOException {
    Path fit = tokens("fit.json", 1, 8, 48);
    Path copy = Files.copy(fit, folder.resolve("copy.json"));
    Object[] fitting = {"--rule", "map", "--target-layers", 7, "--fit-text", fit, "--eval-tokens"};
    List<String> found = warnings(prune(with(fitting, copy)));
    assertEquals(1, overlaps(found).size(), found::toString);
    assertTrue(
        overlaps(found).getFirst().startsWith("copy.json: 100 % of its tokens"), found::toString);
    assertTrue(overlaps(found).getFirst().contains("fit.json"), found::toString);
    Path other = tokens("other.json", 2, 8, 48);
    assertEquals(List.of(), overlaps(warnings(prune(with(fitting, other)))));
    // Nothing was fitted.
    assertEquals(List.of(), overlaps(warnings(prune("--rule", "drop", "--eval-tokens", copy))));
  }

  private static List<String> overlaps(List<String> warnings) {
    return warnings.stream().filter(warning -> warning.contains("of its tokens")).toList();
  }

  @Test
  void aDocumentOfTheFitTextIsFoundInAnotherText() throws IOException {
    List<String> documents =
        List.of(Files.readString(Fixtures.STORYTELLER.resolve("fit.txt")).split("(?m)^---+$"));
    Path fit =
        TestFiles.write(
            folder.resolve("some.txt"), String.join("\n---\n", documents.subList(0, 4)));
    String own = Files.readString(Fixtures.STORYTELLER.resolve("evaluation.txt"));
    Path text = TestFiles.write(folder.resolve("mine.txt"), own + "\n" + documents.get(2));
    Object[] prune = {
      "prune",
      Fixtures.STORYTELLER,
      "--dry-run",
      "--quiet",
      "--target-layers",
      15,
      "--search",
      "greedy",
      "--rule",
      "map",
      "--fit-tokens",
      1024
    };
    ProgramRun run = Laco.run(with(prune, "--eval-text", text, "--fit-text", fit)).succeeded();
    assertTrue(
        run.err().matches("laco: warning: mine.txt: \\d+ % of its tokens .* some.txt: .*\\R"),
        run.err());
    assertEquals("", Laco.run(prune).succeeded().err());
  }

  private static Object[] with(Object[] arguments, Object... more) {
    return Stream.concat(Arrays.stream(arguments), Arrays.stream(more)).toArray();
  }

  @Test
  void chunksBeyondTheTrainedLengthAreAWarning() {
    int positions =
        Fixtures.read(MODEL.resolve("config.json")).get("max_position_embeddings").intValue();
    Path longer = tokens("long.json", 3, 1, positions + 2);
    String expected = String.format(Locale.ROOT, "long.json: windows of %,d tokens", positions + 2);
    List<String> found = warnings(prune("--rule", "drop", "--eval-tokens", longer));
    assertTrue(found.stream().anyMatch(warning -> warning.startsWith(expected)), found::toString);
    ProgramRun eval = Laco.run("eval", MODEL, "--tokens", longer, "--quiet").succeeded();
    assertTrue(eval.err().startsWith("laco: warning: " + expected), eval.err());
    Path exact = tokens("exact.json", 3, 1, positions + 1);
    assertEquals("", Laco.run("eval", MODEL, "--tokens", exact, "--quiet").succeeded().err());
  }

  @ParameterizedTest
  @ValueSource(strings = {"beam", "laco"})
  void aBudgetThatEndedTheSearchIsAWarningAndInTheReport(String search) {
    ProgramRun run =
        prune(
            "--rule",
            "drop",
            "--search",
            search,
            "--target-layers",
            3,
            "--search-budget",
            "2sweeps");
    assertEquals("budget", run.json().get("search").get("endedBy").textValue());
    List<String> found = warnings(run);
    assertTrue(
        found.stream()
            .anyMatch(warning -> warning.startsWith("--search-budget 2sweeps ended the search")),
        found::toString);
    ProgramRun whole =
        prune("--rule", "drop", "--search", search, "--target-layers", 6, "--search-budget", "1h");
    assertEquals("completion", whole.json().get("search").get("endedBy").textValue());
    assertFalse(whole.err().contains("budget"), whole.err());
  }

  @ParameterizedTest
  @ValueSource(strings = {"calibration.txt", "evaluation.txt", "fit.txt"})
  void aLinkToATextThatIsGoneIsNotSilentlyReplacedByTheBuiltInText(String name) throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (String file : TestFiles.names(Fixtures.STORYTELLER)) {
      Files.createSymbolicLink(
          model.resolve(file),
          file.equals(name)
              ? Path.of("gone")
              : Fixtures.STORYTELLER.resolve(file).toAbsolutePath());
    }
    ProgramRun run = Laco.run("prune", model, "--dry-run", "--target-layers", 15);
    assertEquals(3, run.code());
    assertTrue(
        run.err().matches("laco: " + model.resolve(name) + ": is a link to gone, .*\\R"),
        run.err());
  }

  @Test
  void aModelThatBecomesTwiceAsPerplexedIsInTheReport() {
    ProgramRun run =
        Laco.run(
            "prune", Fixtures.STORYTELLER, "--dry-run", "--json", "--quiet", "--threshold", 0.6);
    List<String> found = warnings(run.succeeded());
    assertEquals(1, found.size());
    assertTrue(found.getFirst().startsWith("perplexity rose from "), found::toString);
  }
}
