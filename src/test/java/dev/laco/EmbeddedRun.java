package dev.laco;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.linalg.Cholesky;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.Tokenizer;
import dev.laco.transformer.RunningModel;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.List;

/**
 * A host that prunes a model with the engine embedded in its JVM. Prints what of the process is not
 * as before.
 */
final class EmbeddedRun {
  private static final int SHARD_BYTES = 1_000_000;

  private EmbeddedRun() {}

  /** Prunes {@code MODEL} into {@code OUT}. */
  public static void main(String[] arguments) throws Exception {
    HostProcess.unchangedBy(() -> prune(Path.of(arguments[0]), Path.of(arguments[1])));
  }

  private static void prune(Path folder, Path out) {
    try (Checkpoint model = Checkpoint.open(folder);
        Tokenizer tokenizer = Tokenizer.load(folder).orElseThrow();
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      CollapsePlan.Source source = PlanApplier.source(model);
      CollapseSettings settings =
          new CollapseSettings(
              4, 2, 8, source.layers(), MergeRule.parse("rdsc:0.5"), NormsPolicy.MERGE);
      List<int[]> texts = List.of(tokenizer.encode("Once upon a time there was a small bird."));
      CollapsePlan plan;
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, model.config(), model),
              source,
              PackedSequences.of(texts),
              SweepOptions.of(1))) {
        plan = new LayerCollapse(settings, source, scorer).run(0.5, (trial, share) -> {}).plan();
      }
      solve();
      HostTensor norm = model.tensor("model.norm.weight");
      PlanTensors tensors = new PlanTensors(NewWeights.NONE.with(norm));
      new PlanApplier(model, plan, tensors, SHARD_BYTES, warning -> {})
          .write(out, false, bytes -> {});
      try (Checkpoint written = Checkpoint.open(out)) {
        written.weightNames().forEach(written::requireFinite);
      }
    }
  }

  /** Loads what fits. */
  private static void solve() {
    try (Arena arena = Arena.ofShared()) {
      Cholesky.solve(
          arena.allocateFrom(JAVA_DOUBLE, 4, 1, 1, 3),
          arena.allocateFrom(JAVA_DOUBLE, 1, 2),
          2,
          1,
          1);
    }
  }
}
