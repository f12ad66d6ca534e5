package dev.laco.transformer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.text.TextChunks;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A plan's model in memory computes what the checkpoint that is written of it does. */
class PlannedLayersTest {
  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(strings = {"llama_untied_gqa", "llama_tied_rope3"})
  void newTensorsAreThoseOfTheWrittenModel(String name) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint model = Checkpoint.open(Fixtures.model(name))) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(1, 2, MergeRule.parse("rdsc"), NormsPolicy.MERGE);
      // The survivor after the gap has another number than in the original.
      NewWeights weights =
          NewWeights.NONE
              .with(changed(model, "model.layers.1.mlp.down_proj.weight", 1))
              .with(changed(model, "model.layers.2.self_attn.o_proj.weight", 4))
              .with(TestTensors.changed(model.tensor("model.norm.weight"), "model.norm.weight"));
      new PlanApplier(model, plan, new PlanTensors(weights), Long.MAX_VALUE, warning -> {})
          .write(folder.resolve("out"), false, bytes -> {}, () -> {});
      try (Checkpoint written = Checkpoint.open(folder.resolve("out"));
          PlannedLayers layers =
              new RunningModel(backend, model.config(), model).pruned(plan, NewWeights.NONE)) {
        CausalLm inMemory = layers.model();
        double mixed = nll(name, inMemory);
        layers.use(plan, weights);
        double replaced = nll(name, inMemory);
        assertEquals(
            nll(name, new RunningModel(backend, written.config(), written).original()), replaced);
        assertNotEquals(mixed, replaced);
        layers.use(plan);
        assertEquals(mixed, nll(name, inMemory));
      }
    }
  }

  /** Experts are mixed index by index; a layer without a mixture stays one at its new index. */
  @ParameterizedTest
  @CsvSource({
    "mixtral, rdsc, 1",
    "mixtral, replace, 2",
    "qwen3_moe, drop, 0",
    "qwen3_moe, drop, 2"
  })
  void aPrunedMixtureIsThatOfTheWrittenModel(String name, String rule, int base) {
    MergeRule merge = MergeRule.parse(rule);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint model = Checkpoint.open(Fixtures.model(name))) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(base, 1, merge, merge.defaultNorms());
      new PlanApplier(model, plan, new PlanTensors(NewWeights.NONE), Long.MAX_VALUE, warning -> {})
          .write(folder.resolve("out"), false, bytes -> {}, () -> {});
      try (Checkpoint written = Checkpoint.open(folder.resolve("out"));
          PlannedLayers layers =
              new RunningModel(backend, model.config(), model).pruned(plan, NewWeights.NONE)) {
        assertEquals(
            nll(name, new RunningModel(backend, written.config(), written).original()),
            nll(name, layers.model()));
      }
    }
  }

  private static HostTensor changed(Checkpoint model, String name, int original) {
    String source = name.replaceFirst("layers\\.\\d+", "layers." + original);
    return TestTensors.changed(model.tensor(source), name);
  }

  private static double nll(String name, CausalLm model) {
    return PerplexityMeasure.measure(
            model, TextChunks.whole(Fixtures.tokens(name, "eval")), (done, total) -> {})
        .meanNll();
  }
}
