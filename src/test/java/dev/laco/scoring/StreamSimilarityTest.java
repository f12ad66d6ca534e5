package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.RunningModel;
import java.util.stream.StreamSupport;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What layers do to the residual stream, against an independent implementation. */
final class StreamSimilarityTest {
  /** The stored values come from a float32 forward of bf16 and f16 models, too. */
  private static final double TOLERANCE = 1e-4;

  @ParameterizedTest
  @MethodSource("dev.laco.Fixtures#withScores")
  void influenceAndAnglesAreThoseOfTheReference(String fixture) {
    JsonNode expected = Fixtures.json(fixture, "scores.json").get("raw");
    try (Checkpoint model = Checkpoint.open(Fixtures.model(fixture));
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      StreamSimilarity found =
          StreamSimilarity.measure(
              new RunningModel(backend, model.config(), model),
              PackedSequences.of(Fixtures.tokens(fixture, "calib")));
      assertArrayEquals(doubles(expected.get("bi_token_mean")), found.blockInfluence(), TOLERANCE);
      for (int layers = 1; layers < model.config().numHiddenLayers(); layers++) {
        assertArrayEquals(
            doubles(expected.get("angular").get("n=" + layers).get("d")),
            found.angularDistances(layers),
            TOLERANCE);
      }
    }
  }

  private static double[] doubles(JsonNode list) {
    return StreamSupport.stream(list.spliterator(), false)
        .mapToDouble(JsonNode::doubleValue)
        .toArray();
  }
}
