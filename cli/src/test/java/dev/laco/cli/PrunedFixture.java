package dev.laco.cli;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ProgramRun;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.NewWeights;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * A small model without a tokenizer, and the token ids that a prune of it needs.
 *
 * @param calibration a file of them
 */
record PrunedFixture(Path calibration) {
  static final String NAME = "llama_untied_gqa";
  static final Path MODEL = Fixtures.model(NAME);

  /** Writes the token ids into a folder. */
  static PrunedFixture in(Path folder) {
    return new PrunedFixture(Fixtures.tokens(folder, NAME, "calib"));
  }

  /** Writes the model's first layer alone as a checkpoint. */
  static Path oneLayer(Path folder) {
    try (Model model = Model.open(MODEL);
        PlanTensors none = new PlanTensors(NewWeights.NONE)) {
      CollapsePlan plan =
          new CollapsePlan(PlanApplier.source(model.checkpoint()), List.of(LayerMix.original(0)));
      new PlanApplier(model.checkpoint(), plan, none, Long.MAX_VALUE, _ -> {})
          .write(folder, false, _ -> {});
      return folder;
    }
  }

  /** {@code prune MODEL --calibration FILE …}. */
  ProgramRun prune(Object... more) {
    return Laco.run(
        Stream.concat(Stream.of("prune", MODEL, "--calibration", calibration), Stream.of(more))
            .toArray());
  }
}
