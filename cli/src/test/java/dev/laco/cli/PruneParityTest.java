package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The stored runs of an independent implementation, repeated through the command line. */
class PruneParityTest extends StoredRuns {
  static Stream<Arguments> runs() {
    return Stream.of("official", "paper")
        .flatMap(run -> Fixtures.withRun(run).map(name -> Arguments.of(name, run)));
  }

  @ParameterizedTest
  @MethodSource("runs")
  void pruneRepeatsTheStoredRunAndEvalItsPerplexity(String name, String run) {
    assertRunMatches(name, run, "--device", "cpu");
  }

  @Test
  void theReferenceDeviceRepeatsAStoredRunToo() {
    JsonNode report = assertRunMatches("llama_untied_gqa", "official", "--device", "reference");
    assertTrue(report.get("device").textValue().startsWith("reference"));
  }

  @ParameterizedTest
  @org.junit.jupiter.params.provider.ValueSource(strings = {"official", "paper"})
  void theTrainedModelRepeatsItsStoredRun(String run) {
    JsonNode expected = Fixtures.json("storyteller", "expected.json").get("runs").get(run);
    Path out = folder.resolve("out");
    Path evalTokens = Fixtures.tokens(folder, "storyteller", "eval");
    JsonNode report =
        prune(
            Fixtures.STORYTELLER,
            "storyteller",
            expected,
            evalTokens,
            out,
            "--device",
            "cpu",
            "--compute",
            "f32");
    assertTrialsMatch(expected, report, SIMILARITY);
    assertWritten(Fixtures.STORYTELLER, report.get("plan"), out);
    double dense =
        Fixtures.json("storyteller", "expected.json")
            .at("/dense/float32/eval/mean_nll")
            .doubleValue();
    JsonNode quality = report.get("quality");
    assertEquals(dense, quality.get("dense").get("meanNll").doubleValue(), NLL * dense);
    // What the report says of the pruned model holds for the one that was written.
    JsonNode found = eval(out, evalTokens, "--device", "cpu", "--compute", "f32");
    double said = quality.get("pruned").get("meanNll").doubleValue();
    assertEquals(said, found.get("meanNll").doubleValue(), 1e-6 * said);
  }
}
