package dev.laco.fit;

import static dev.laco.Fixtures.STORYTELLER;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.NonFinite;
import dev.laco.model.TensorSpec;
import dev.laco.report.FitReport;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Norms that are trained on further text, behind the fit of layers. */
class NormTrainingTest {
  private static final int FITTED = 3072;

  /** The beginning of the demo model's own fit text. */
  private static FitText stories(Checkpoint model) {
    try (Tokenizer tokenizer = Tokenizer.load(STORYTELLER).orElseThrow()) {
      ModelConfig config = model.config();
      return FitText.read(
          STORYTELLER.resolve("fit.txt"),
          new CalibrationSet.Target(
              Optional.of(tokenizer),
              MissingTokenizer.OF_FOLDER,
              config.vocabSize(),
              config.maxPositionEmbeddings()));
    }
  }

  /** The chunks of a text that are behind its first {@code from} tokens. */
  private static List<FitText.Chunk> behind(FitText text, int from, int tokens) {
    int first = text.limit(from).chunks().size();
    List<FitText.Chunk> rest = text.chunks().subList(first, text.chunks().size());
    return new FitText(text.name(), rest).limit(tokens).chunks();
  }

  private static CarryOver.Result fit(
      RunningModel running, CollapsePlan plan, WholeText text, FitRule rule, MemoryArena memory) {
    try (CarryOver carryOver = new CarryOver(running, text)) {
      return carryOver.fit(plan, rule, 1, true, memory, (_, _) -> {});
    }
  }

  private static double divergence(
      RunningModel running, CollapsePlan plan, NewWeights tensors, List<FitText.Chunk> text) {
    try (PlannedLayers layers = running.pruned(plan, tensors);
        FidelityMeasure measure =
            new FidelityMeasure(
                running.original(),
                TextChunks.whole(text.stream().map(FitText.Chunk::ids).toList()),
                false)) {
      return measure.measure(layers.model(), (_, _) -> {}).pruned().divergence();
    }
  }

  private static CollapsePlan drop(Checkpoint model, int base, int followers) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(base, followers, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static boolean isNorm(TensorSpec spec) {
    return spec.parts().getFirst().role().isNorm();
  }

  /** The names of all norms from a layer of the pruned model on. */
  private static TreeSet<String> norms(ModelConfig config, CollapsePlan plan, int first) {
    TreeSet<String> norms = new TreeSet<>(List.of(config.architecture().finalNorm()));
    for (int index = first; index < plan.depth(); index++) {
      int base = plan.layers().get(index).base();
      for (TensorSpec spec : config.architecture().layerTensors(config, base)) {
        if (isNorm(spec)) {
          norms.add(config.architecture().tensorName(index, spec));
        }
      }
    }
    return norms;
  }

  @Test
  void normsBringPredictionsCloserAndNothingElseMoves() {
    int base = 11;
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      FitText text = stories(model);
      WholeText layers = WholeText.of(text.limit(FITTED));
      WholeText whole = new WholeText(layers.layers(), behind(text, FITTED, 4096));
      CollapsePlan plan = drop(model, base, 3);
      CarryOver.Result fitted = fit(running, plan, layers, FitRule.RECONSTRUCT, memory);
      assertNull(fitted.norms());
      CarryOver.Result trained = fit(running, plan, whole, FitRule.RECONSTRUCT, memory);
      assertEquals(1, trained.finalNorm());
      FitReport.Norms report = Objects.requireNonNull(trained.norms());
      // The first tokens are judged on.
      assertTrue(report.tokens() <= 4096 - 1024 && report.tokens() > 2560, report::toString);
      assertTrue(report.kept() && report.lossAfter() < report.lossBefore(), report::toString);

      TreeSet<String> norms = norms(model.config(), plan, base);
      assertTrue(trained.tensors().tensors().keySet().containsAll(norms), norms::toString);
      trained
          .tensors()
          .tensors()
          .forEach(
              (name, tensor) -> {
                HostTensor before = fitted.tensors().find(name);
                boolean same = before != null && before.data().mismatch(tensor.data()) < 0;
                assertEquals(!norms.contains(name), same, name);
              });

      List<FitText.Chunk> other = behind(text, 20_000, 4096);
      double before = divergence(running, plan, fitted.tensors(), other);
      double after = divergence(running, plan, trained.tensors(), other);
      assertTrue(after < before, before + " → " + after);

      CarryOver.Result again = fit(running, plan, whole, FitRule.RECONSTRUCT, memory);
      assertEquals(report, again.norms());
      trained
          .tensors()
          .tensors()
          .forEach(
              (name, tensor) ->
                  assertTrue(
                      Objects.requireNonNull(again.tensors().find(name))
                              .data()
                              .mismatch(tensor.data())
                          < 0,
                      name));
    }
  }

  /** What is learnt from noise does harm to stories. */
  @Test
  void normsThatDoHarmKeepTheirWeights() {
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(STORYTELLER);
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      FitText text = stories(model);
      List<FitText.Chunk> further = new ArrayList<>(behind(text, FITTED, 1024));
      further.addAll(noise(model.config(), 24));
      WholeText whole = new WholeText(text.limit(FITTED), further);
      CollapsePlan plan = drop(model, 5, 3);
      CarryOver.Result result = fit(running, plan, whole, FitRule.RECONSTRUCT, memory);
      FitReport.Norms report = Objects.requireNonNull(result.norms());
      assertTrue(report.lossAfter() > report.lossBefore(), report::toString);
      assertFalse(report.kept());
      assertNull(result.tensors().find(model.config().architecture().finalNorm()));
    }
  }

  private static List<FitText.Chunk> noise(ModelConfig config, int chunks) {
    Random random = new Random(5);
    List<FitText.Chunk> noise = new ArrayList<>();
    for (int i = 0; i < chunks; i++) {
      int[] ids = random.ints(128, 0, config.vocabSize()).toArray();
      noise.add(new FitText.Chunk(ids, i, "noise"));
    }
    return noise;
  }

  /** Norms in front of parts and behind them, of queries and keys, with offsets and biases. */
  @ParameterizedTest
  @MethodSource("dev.laco.Fixtures#names")
  void normsOfEveryFamilyAreTrained(String name) {
    try (Backend backend = CpuBackend.open(Compute.F32, 2);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      List<FitText.Chunk> chunks = new ArrayList<>();
      for (int[] ids : Fixtures.tokens(name, "calib")) {
        chunks.add(new FitText.Chunk(ids, chunks.size(), "a text"));
      }
      List<FitText.Chunk> further = new ArrayList<>();
      while (FitText.tokens(further) < 4096) {
        further.addAll(chunks);
      }
      CollapsePlan plan = drop(model, 1, 1);
      CarryOver.Result result =
          fit(
              running,
              plan,
              new WholeText(new FitText("a text", chunks), further),
              FitRule.RECONSTRUCT,
              memory);
      FitReport.Norms report = Objects.requireNonNull(result.norms());
      assertTrue(report.kept(), report::toString);
      for (String norm : norms(model.config(), plan, 1)) {
        HostTensor tensor = Objects.requireNonNull(result.tensors().find(norm), norm);
        assertEquals(-1, NonFinite.first(tensor.dtype(), tensor.data()), norm);
      }
    }
  }
}
