package dev.laco.analysis;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import dev.laco.analysis.SimilarityRequest.Part;
import dev.laco.analysis.SimilarityResult.Removals;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Score;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.scoring.ModelScore;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Similarity of layers without a command line. */
final class SimilarityJobTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final DeviceSettings CPU =
      DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32);

  /** The stored hidden states and weights are f32, the values made of them f64. */
  private static final double TOLERANCE = 2e-5;

  @TempDir Path folder;

  /** The first sequence of a fixture's set as the text, where a part needs one. */
  private SimilarityRequest request(String fixture, Part... parts) {
    Path tokens =
        TestFiles.write(
            folder.resolve(fixture + ".json"),
            "[" + Fixtures.json(fixture, "tokens.json").get("eval").get(0) + "]");
    return new SimilarityRequest(
        List.of(parts), List.of(parts).equals(List.of(Part.PARAMETERS)) ? null : tokens, null);
  }

  private static SimilarityResult run(String fixture, SimilarityRequest request) {
    try (Model model = Model.open(Fixtures.model(fixture))) {
      return new SimilarityJob(model, CPU, request).run();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {FIXTURE, "olmoe"})
  void statesAndParametersAreAsAlikeAsNumPySays(String fixture) {
    SimilarityResult result = run(fixture, request(fixture, Part.STATES, Part.PARAMETERS));
    JsonNode expected = Fixtures.json(fixture, "similarity.json");
    JsonNode found = SimilarityJson.of(result);
    assertEquals(fixture.equals(FIXTURE) ? 5 : 0, expected.path("states").size());
    expected
        .path("states")
        .properties()
        .forEach(
            what -> close(what.getKey(), what.getValue(), found.get("states").get(what.getKey())));
    expected
        .get("parameters")
        .properties()
        .forEach(
            role -> {
              JsonNode values = found.get("parameters").get(role.getKey());
              close(role.getKey(), role.getValue().get("cosine"), values.get("cosine"));
              close(role.getKey(), role.getValue().get("distance"), values.get("distance"));
            });
    // All matrices together stand beside the roles.
    assertEquals(expected.get("parameters").size() + 1, result.parameters().size());
    assertNull(result.removals());
  }

  private static void close(String what, JsonNode expected, JsonNode found) {
    assertEquals(expected.size(), found.size(), what);
    for (int i = 0; i < expected.size(); i++) {
      if (expected.get(i).isArray()) {
        close(what + " " + i, expected.get(i), found.get(i));
      } else {
        assertEquals(expected.get(i).doubleValue(), found.get(i).doubleValue(), TOLERANCE, what);
      }
    }
  }

  /** InternLM 2 holds the same weights in other tensors, Phi-3 two roles in one. */
  @Test
  void rolesOfOneTensorAreComparedByTheirRows() {
    SimilarityResult plain = run(FIXTURE, request(FIXTURE, Part.PARAMETERS));
    SimilarityResult other = run("internlm2", request("internlm2", Part.PARAMETERS));
    for (String role : List.of("gate", "up", "down", "output")) {
      for (int layer = 1; layer < plain.layers(); layer++) {
        assertEquals(
            plain.parameters().get(role).cosine().get(0, layer),
            other.parameters().get(role).cosine().get(0, layer),
            1e-6);
      }
    }
    SimilarityResult fused = run("phi3_std", request("phi3_std", Part.PARAMETERS));
    assertEquals(
        List.of("all", "query", "key", "value", "output", "gate", "up", "down"),
        List.copyOf(fused.parameters().sequencedKeySet()));
    assertTrue(
        fused.parameters().get("gate").cosine().get(0, 1)
            != fused.parameters().get("up").cosine().get(0, 1));
  }

  /** One layer of qwen3_moe has no experts: only layers that have some are compared by them. */
  @Test
  void layersThatHaveDifferentMatricesAreNotCompared() {
    LayerMatrix routers =
        run("qwen3_moe", request("qwen3_moe", Part.PARAMETERS)).parameters().get("router").cosine();
    int without =
        IntStream.range(0, routers.size())
            .filter(layer -> Double.isNaN(routers.get(layer, layer)))
            .findFirst()
            .orElseThrow();
    for (int layer = 0; layer < routers.size(); layer++) {
      assertEquals(layer == without, Double.isNaN(routers.get(layer, layer)), "layer " + layer);
      assertTrue(Double.isNaN(routers.get(layer, without)), "layer " + layer);
    }
  }

  @Test
  void everyMatrixIsReadOnce() {
    List<String> asked = new ArrayList<>();
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      TensorSource counted =
          new TensorSource() {
            @Override
            public HostTensor tensor(String name) {
              asked.add(name);
              return model.tensor(name);
            }
          };
      new ParameterSimilarity(new RunningModel(backend, model.config(), counted))
          .measure(new JobProgress(JobProgress.StageListener.NONE).begin(""));
      Set<String> matrices = new HashSet<>(asked);
      assertEquals(matrices.size(), asked.size());
      assertEquals(7 * model.config().numHiddenLayers(), matrices.size());
    }
  }

  @Test
  void aRemovalCostsWhatTheModelWithoutItsLayersLoses() {
    SimilarityRequest request =
        new SimilarityRequest(List.of(Part.REMOVALS), Fixtures.tokens(folder, FIXTURE, "calib"), 3);
    Removals removals = run(FIXTURE, request).removals();
    assertNotNull(removals);
    int depth = Fixtures.json(FIXTURE, "scores.json").get("n_layers").intValue();
    assertEquals(3 * depth - 3, removals.spans().size());
    assertEquals(
        Fixtures.json(FIXTURE, "expected.json").at("/dense/float32/calib/mean_nll").doubleValue(),
        removals.nll(),
        1e-4);
    Span span = removals.spans().get(3 * 2 + 2);
    assertEquals(2, span.first());
    assertEquals(4, span.last());
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      CollapsePlan plan =
          new CollapsePlan(
              PlanApplier.source(model),
              IntStream.of(0, 1, 5, 6, 7).mapToObj(LayerMix::original).toList());
      try (PlannedLayers pruned = running.pruned(plan, NewWeights.NONE)) {
        Score score =
            ModelScore.of(
                running.original(),
                pruned.model(),
                PackedSequences.of(Fixtures.tokens(FIXTURE, "calib")));
        Score.Language language = score.language();
        assertNotNull(language);
        assertEquals(language.nll(), span.nll(), 1e-6);
        assertEquals(language.kl(), span.kl(), 1e-6);
        assertEquals(score.mean(), span.similarity(), 1e-6);
      }
    }
  }

  @Test
  void theCheapestLayersCostATenthOfThePerplexityAtMost() {
    Removals removals =
        new Removals(
            2,
            List.of(
                new Span(0, 1, 5, 0, 0),
                new Span(0, 2, 2, 0, 0),
                new Span(1, 1, 2.04, 0, 0),
                new Span(2, 1, 2.03, 0, 0),
                new Span(3, 1, Double.NaN, 0, 0),
                new Span(4, 1, 2.05, 0, 0),
                new Span(5, 1, 1.99, 0, 0),
                new Span(6, 1, 3, 0, 0),
                new Span(7, 1, 3, 0, 0)));
    assertEquals(List.of(5, 2, 1), removals.cheapest().stream().map(Span::first).toList());
    assertEquals(1, removals.best(2).orElseThrow().last());
  }

  @Test
  void tellsWhatItWillCostAndKeepsToTheParts() {
    List<JobEvent> events = new ArrayList<>();
    SimilarityResult result;
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      result =
          new SimilarityJob(model, CPU, request(FIXTURE, Part.PARAMETERS))
              .listener(events::add)
              .run();
    }
    assertTrue(events.stream().anyMatch(event -> event instanceof JobEvent.MemoryPlanned));
    assertNull(result.text());
    assertNull(result.states());
    assertEquals(
        List.of("model", "layers", "parameters"),
        SimilarityJson.of(result).properties().stream().map(Map.Entry::getKey).toList());
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      SimilarityRequest tooLong = new SimilarityRequest(Part.all(), null, result.layers());
      assertThrows(UsageException.class, () -> new SimilarityJob(model, CPU, tooLong));
    }
    assertThrows(UsageException.class, () -> new SimilarityRequest(List.of(), null, null));
    assertThrows(UsageException.class, () -> new SimilarityRequest(Part.all(), null, 0));
  }
}
