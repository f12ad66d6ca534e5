package dev.laco.parity;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightFile;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.measure.LastWordMeasure;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.TextChunks;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every fixture against the stored outputs of an independent implementation, in parity mode. */
public abstract class FixtureParityTest {
  /** Stored f64 runs agree to this share of the largest magnitude (design: numbers). */
  private static final double STATES = 1e-5;

  /** Mean NLL, relative. */
  private static final double NLL = 1e-4;

  private Backend backend;

  /** A backend in parity mode. */
  protected abstract Backend open();

  static Stream<String> fixtures() {
    return Fixtures.names();
  }

  static Stream<String> official() {
    return Fixtures.withRun("official");
  }

  static Stream<String> paper() {
    return Fixtures.withRun("paper");
  }

  /**
   * Logits that are plain, capped, and scaled, where the fixtures are there; that the logits are
   * right is seen for every fixture.
   */
  static Stream<String> lastWords() {
    return Fixtures.names().filter(Set.of("llama_tied_rope3", "gemma2_std", "granite")::contains);
  }

  @BeforeEach
  void openBackend() {
    backend = open();
  }

  @AfterEach
  void closeBackend() {
    backend.close();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void finalHiddenStatesAndLogitsAgreeWithTheFloat64Run(String name) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(name));
        WeightFile reference =
            WeightFile.open(Fixtures.folder(name).resolve("reference.safetensors"))) {
      ModelConfig config = ModelConfig.parse("config.json", checkpoint.configJson());
      CausalLm model = new RunningModel(backend, config, checkpoint).original();
      PackedSequences sequences = PackedSequences.of(Fixtures.tokens(name, "eval"));
      try (TensorArena arena = backend.arena();
          Workspace work = new Workspace(backend, config, sequences.size());
          TokenBatch batch = model.batch(sequences)) {
        Tensor hidden = arena.allocate(DType.F32, sequences.size(), config.hiddenSize());
        Tensor logits = arena.allocate(DType.F32, sequences.size(), config.vocabSize());
        model.embed(batch, hidden);
        model.finish(0, hidden, batch, work, hidden);
        model.logits(hidden, logits);
        for (int s = 0; s < sequences.sequences(); s++) {
          int from = sequences.offsets()[s];
          int to = sequences.offsets()[s + 1];
          assertClose(reference, s + ".final_hidden", hidden.slice(from, to));
          assertClose(reference, s + ".logits", logits.slice(from, to));
        }
      }
    }
  }

  private void assertClose(WeightFile reference, String name, Tensor found) {
    float[] values = new float[(int) found.elements()];
    backend.download(found, values);
    assertEquals(values.length, reference.info(name).elements(), name);
    double largest = 0;
    double worst = 0;
    for (int i = 0; i < values.length; i++) {
      double want = stored(reference, name, i);
      largest = Math.max(largest, Math.abs(want));
      double error = Math.abs(want - values[i]);
      worst = error <= worst ? worst : error;
    }
    assertTrue(worst <= STATES * largest, name + ": off by " + worst + " of " + largest);
  }

  /** Element {@code i} of a stored output, which is f64 or f32. */
  private static double stored(WeightFile reference, String name, long i) {
    MemorySegment values = reference.bytes(name);
    return reference.info(name).type() == StoredType.F64
        ? values.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8 * i)
        : values.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * i);
  }

  @ParameterizedTest
  @MethodSource("lastWords")
  void lastWordsAreKnownWhereTheLargestLogitsOfTheFloat64RunAreTheirs(String name) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(name));
        WeightFile reference =
            WeightFile.open(Fixtures.folder(name).resolve("reference.safetensors"))) {
      ModelConfig config = ModelConfig.parse("config.json", checkpoint.configJson());
      List<int[]> lists = Fixtures.tokens(name, "eval");
      List<TextChunks.Chunk> passages = new ArrayList<>();
      int known = 0;
      for (int s = 0; s < lists.size(); s++) {
        int[] ids = lists.get(s);
        Logits logits = new Logits(reference, s + ".logits", config.vocabSize());
        for (int last = 2; last < ids.length; last += 11) {
          int likeliest = logits.likeliest(last - 1);
          int[] right = Arrays.copyOf(ids, last + 1);
          right[last] = likeliest;
          int[] wrong = right.clone();
          wrong[last] = (likeliest + 1) % config.vocabSize();
          passages.add(TextChunks.continuation(right, last));
          passages.add(TextChunks.continuation(wrong, last));
          passages.add(TextChunks.continuation(right, last - 1));
          boolean both = logits.likeliest(last - 2) == ids[last - 1];
          known += both ? 2 : 1;
        }
      }
      CausalLm model = new RunningModel(backend, config, checkpoint).original();
      assertEquals(
          new LastWord(passages.size(), known),
          LastWordMeasure.measure(model, passages, (done, total) -> {}));
    }
  }

  /** Stored logits of a sequence, {@code [T, V]}. */
  private record Logits(WeightFile reference, String name, int vocabulary) {
    /** The token of the largest logit in a row. */
    int likeliest(int row) {
      int best = 0;
      for (int v = 1; v < vocabulary; v++) {
        if (at(row, v) > at(row, best)) {
          best = v;
        }
      }
      return best;
    }

    private double at(long row, int token) {
      return stored(reference, name, row * vocabulary + token);
    }
  }

  @ParameterizedTest
  @MethodSource("official")
  void trialsOfThePublishedCodeMatch(String name) {
    assertRunMatches(name, "official");
  }

  @ParameterizedTest
  @MethodSource("paper")
  void trialsOfEquationOneMatch(String name) {
    assertRunMatches(name, "paper");
  }

  private void assertRunMatches(String name, String run) {
    JsonNode expected = Fixtures.json(name, "expected.json").get("runs").get(run);
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(name))) {
      ModelConfig config = ModelConfig.parse("config.json", checkpoint.configJson());
      CollapsePlan.Source source =
          new CollapsePlan.Source(
              config.architecture().className(), config.numHiddenLayers(), "sha256:test");
      SearchResult result;
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, config, checkpoint),
              source,
              PackedSequences.of(Fixtures.tokens(name, "calib")),
              SweepOptions.of(1))) {
        result =
            new LayerCollapse(settings(expected), source, scorer)
                .run(expected.get("threshold").doubleValue(), (trial, progress) -> {});
      }
      assertEquals(expected.get("layersOut").intValue(), result.plan().depth());
      assertTrialsMatch(
          expected.get("trials"), result.trials(), Fixtures.similarityTolerance(name));
      if (expected.get("pruned").isNull()) {
        return;
      }
      try (PlannedLayers layers =
          new RunningModel(backend, config, checkpoint).pruned(result.plan(), NewWeights.NONE)) {
        CausalLm pruned = layers.model();
        Perplexity perplexity =
            PerplexityMeasure.measure(
                pruned, TextChunks.whole(Fixtures.tokens(name, "eval")), (done, total) -> {});
        JsonNode nll = expected.get("pruned").get("float32").get("eval");
        assertEquals(nll.get("tokens_scored").longValue(), perplexity.tokens());
        double want = nll.get("mean_nll").doubleValue();
        assertEquals(want, perplexity.meanNll(), NLL * want);
      }
    }
  }

  private static void assertTrialsMatch(JsonNode expected, List<Trial> trials, double similarity) {
    assertEquals(expected.size(), trials.size());
    for (Trial trial : trials) {
      JsonNode want = expected.get(trial.step());
      String where = "trial " + trial.step();
      assertEquals(want.get("base").intValue(), trial.base(), where);
      assertEquals(want.get("merged").intValue(), trial.merged(), where);
      assertEquals(want.get("layersBefore").intValue(), trial.layersBefore(), where);
      assertEquals(want.get("accepted").booleanValue(), trial.accepted(), where);
      List<Double> similarities = trial.score().similarities();
      assertEquals(want.get("similarities").size(), similarities.size(), where);
      for (int s = 0; s < similarities.size(); s++) {
        assertEquals(
            want.get("similarities").get(s).doubleValue(), similarities.get(s), similarity, where);
      }
    }
  }

  private static CollapseSettings settings(JsonNode run) {
    return new CollapseSettings(
        run.get("mergeLayers").intValue(),
        run.get("interval").intValue(),
        run.get("lowest").intValue(),
        run.get("highest").intValue(),
        MergeRule.parse(run.get("rule").textValue()),
        NormsPolicy.valueOf(run.get("norms").textValue().toUpperCase(java.util.Locale.ROOT)));
  }
}
