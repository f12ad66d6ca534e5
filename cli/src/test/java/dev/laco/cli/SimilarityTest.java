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
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The similarity of layers as tables, JSON and files. */
class SimilarityTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;

  @Test
  void theFilesHoldWhatTheJsonSays() throws IOException {
    Path out = folder.resolve("out");
    ProgramRun run =
        Laco.run(
                "similarity",
                MODEL,
                "--calibration",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--longest-span",
                2,
                "--out",
                out,
                "--json")
            .succeeded();
    JsonNode json = run.json();
    assertEquals(json, Fixtures.read(out.resolve("similarity.json")));
    List<String> pairs = Files.readAllLines(out.resolve("pairs.csv"));
    int roles = json.get("parameters").size();
    assertEquals(1 + 2 * roles * 8 * 8 + 4 * 9 * 9, pairs.size());
    assertTrue(pairs.stream().allMatch(line -> line.split(",", -1).length == 5));
    assertEquals(
        json.at("/parameters/gate/distance/2/3").doubleValue(),
        pairs.stream()
            .filter(line -> line.startsWith("gate,distance,2,3,"))
            .mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(',') + 1)))
            .sum(),
        1e-8);
    assertEquals(9, Files.readAllLines(out.resolve("layers.csv")).size());
    assertEquals(1 + 15, Files.readAllLines(out.resolve("spans.csv")).size());
  }

  /** A reader of the folder takes all its files for those of one model. */
  @Test
  void theFolderOfAnEarlierRunKeepsNoFileThatThisOneDoesNotWrite() throws IOException {
    Path out = folder.resolve("out");
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Laco.run("similarity", MODEL, "--calibration", calibration, "--out", out).succeeded();
    Files.writeString(out.resolve("notes.txt"), "mine");
    Object[] some = {"similarity", MODEL, "--parts", "parameters", "--out", out};
    Laco.run(some).succeeded();
    List<String> left =
        List.of("notes.txt", "pairs.csv", "parameters.svg", "similarity.html", "similarity.json");
    assertEquals(left, TestFiles.names(out));
    Object[] pageElsewhere = Arrays.copyOf(some, some.length + 2);
    pageElsewhere[some.length] = "--html";
    pageElsewhere[some.length + 1] = folder.resolve("page.html");
    Laco.run(pageElsewhere).succeeded();
    assertEquals(
        left.stream().filter(name -> !name.equals("similarity.html")).toList(),
        TestFiles.names(out));
  }

  @Test
  void whatIsGivenForAPartThatIsNotMeasuredIsRefused() {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    ProgramRun text =
        Laco.run("similarity", MODEL, "--parts", "parameters", "--calibration", calibration);
    assertEquals(2, text.code());
    assertTrue(text.err().contains("--calibration "), text.err());
    assertTrue(text.err().contains("--parts"), text.err());
    ProgramRun span =
        Laco.run("similarity", MODEL, "--parts", "parameters,states", "--longest-span", 3);
    assertEquals(2, span.code());
    assertTrue(span.err().contains("--longest-span 3"), span.err());
  }

  @Test
  void aFolderOfOthersIsLeftAlone() throws IOException {
    Path pairs = Files.writeString(folder.resolve("pairs.csv"), "mine");
    ProgramRun run = Laco.run("similarity", MODEL, "--parts", "parameters", "--out", folder);
    assertEquals(2, run.code());
    assertTrue(run.err().contains("holds no similarity of laco's"), run.err());
    assertEquals("mine", Files.readString(pairs));
    assertFalse(Files.exists(folder.resolve("similarity.json")));
  }

  @Test
  void onlyWhatIsAskedForIsMeasuredAndNoTextIsNeededForWeights() throws IOException {
    Path page = folder.resolve("page.html");
    ProgramRun run =
        Laco.run("similarity", MODEL, "--parts", "parameters", "-q", "--html", page).succeeded();
    assertTrue(Files.readString(page).contains("How alike the 8 layers are"));
    List<String> lines = run.out().lines().toList();
    assertEquals(9, lines.size(), run.out());
    assertTrue(lines.getFirst().matches("layer +weights"), run.out());
    assertTrue(lines.getLast().matches("7 +-"), run.out());
    assertEquals("", run.err());
  }

  @Test
  void ofAModelOfOneLayerAllIsMeasuredButRemovals() {
    Path one = PrunedFixture.oneLayer(folder.resolve("one"));
    Object[] asked = {
      "similarity", one, "--calibration", Fixtures.tokens(folder, FIXTURE, "calib")
    };
    ProgramRun run = Laco.run(asked).succeeded();
    assertTrue(run.err().contains("is not measured: the model has only one"), run.err());
    List<String> lines = run.out().lines().filter(line -> !line.isBlank()).toList();
    assertTrue(
        lines.stream().anyMatch(line -> line.matches("layer +weights +influence.*norm")),
        run.out());
    assertFalse(run.out().contains("nll alone"), run.out());
    ProgramRun pictures =
        Laco.run(
                "similarity",
                one,
                "--calibration",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--json",
                "--out",
                folder.resolve("out"))
            .succeeded();
    assertFalse(pictures.json().hasNonNull("removals"), pictures.out());
  }

  @Test
  void whatCannotBeMeasuredIsRefusedAndLeavesNothing() {
    Path out = folder.resolve("out");
    ProgramRun long8 = Laco.run("similarity", MODEL, "--longest-span", 8, "--out", out);
    assertEquals(2, long8.code());
    assertTrue(long8.err().contains("--longest-span 8"), long8.err());
    ProgramRun noText = Laco.run("similarity", MODEL, "--out", out);
    assertEquals(3, noText.code(), noText.err());
    ProgramRun noPart = Laco.run("similarity", MODEL, "--parts", "weights");
    assertEquals(2, noPart.code());
    assertTrue(noPart.err().contains("--parts"), noPart.err());
    assertFalse(Files.exists(out));
  }
}
