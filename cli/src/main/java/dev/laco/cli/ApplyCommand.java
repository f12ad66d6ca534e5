package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.ByteSize;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.prune.GivenPlan;
import dev.laco.prune.PruneStages;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** Replays a plan: streaming input and output, no device. */
@Command(
    name = "apply",
    description = "Make the checkpoint that a plan describes. Needs no device.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco apply PLAN MODEL OUT [OPTIONS]",
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco apply out/storyteller-small/laco_plan.json models/storyteller out/again"
    })
final class ApplyCommand implements Callable<Integer> {
  @Parameters(
      index = "0",
      paramLabel = "PLAN",
      description =
          "A plan, such as laco_plan.json of a pruned checkpoint; its new tensors, if it has any, lie beside it.")
  Path plan;

  @Parameters(index = "1", paramLabel = "MODEL", description = "The original: " + LacoCommand.MODEL)
  Path model;

  @Parameters(
      index = "2",
      paramLabel = "OUT",
      description = "Folder to write, or GGUF file (OUT.gguf).")
  Path out;

  @Mixin WriteOptions write;
  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    Console console = output.console();
    try (GivenPlan given = GivenPlan.read(plan);
        Checkpoint checkpoint = Checkpoint.open(Model.folder(model))) {
      CollapsePlan parsed = given.plan();
      PlanApplier.checkTarget(checkpoint, out, write.overwrite, console::warning);
      PlanApplier applier =
          new PlanApplier(checkpoint, parsed, given.tensors(), write.format(out), console::warning);
      console.job().expect(PruneStages.WRITE, PlanApplier.estimatedSeconds(applier.tensorBytes()));
      console.expectation();
      try (JobProgress.Stage progress = console.progress(PruneStages.WRITE)) {
        CheckpointWrite.run(
            applier,
            () ->
                applier.write(
                    out, write.overwrite, more -> progress.advance(more, applier.tensorBytes())));
      }
      console.resultLine(
          "wrote",
          "%s: %d → %d layers, %s, was %s",
          out,
          checkpoint.config().numHiddenLayers(),
          parsed.depth(),
          ByteSize.show(applier.tensorBytes()),
          ByteSize.show(checkpoint.storedBytes()));
      if (applier.types() != null) {
        console.resultLine("types", "%s", applier.types());
      }
      if (output.json) {
        console.document(
            JsonNodeFactory.instance
                .objectNode()
                .put("layersIn", checkpoint.config().numHiddenLayers())
                .put("layersOut", parsed.depth())
                .put("bytes", applier.tensorBytes()));
      }
      console.next(PruneCommand.tryOut(out));
    }
    return 0;
  }
}
