package dev.laco.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.DiskSpace;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.heal.HealEvent;
import dev.laco.heal.HealJob;
import dev.laco.heal.HealJson;
import dev.laco.heal.HealReport;
import dev.laco.heal.HealRequest;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Trains a pruned model by distillation from the original. */
@Command(
    name = "heal",
    description = "Train a pruned model to predict what the original predicts.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco heal PRUNED OUT --teacher MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco heal out/storyteller-small out/storyteller-healed --teacher models/storyteller"
    })
final class HealCommand implements Callable<Integer> {
  /** More than a report takes. */
  private static final long REPORT = 1L << 20;

  @Parameters(index = "0", paramLabel = "PRUNED", description = "The pruned model.")
  Path pruned;

  @Parameters(
      index = "1",
      paramLabel = "OUT",
      description = "Folder to write, or GGUF file (OUT.gguf).")
  Path out;

  @HelpSection.In(HelpSection.HEAL)
  @Option(
      names = "--teacher",
      paramLabel = "MODEL",
      required = true,
      description = "The model that PRUNED was made from.")
  Path teacher;

  @HelpSection.In(HelpSection.HEAL)
  @Option(
      names = "--within",
      paramLabel = "TIME",
      description =
          "Train for as long as the whole command may take: 90s, 10m, 1.5h. The number of tokens is"
              + " found by measuring the machine, and told; --heal-tokens with that number gives the"
              + " same model again.")
  @Nullable TimeSpan within;

  @HelpSection.In(HelpSection.OUTPUT)
  @Option(
      names = "--adapter",
      paramLabel = "FOLDER",
      description =
          "Where to write the adapters of --lora as a LoRA adapter of PEFT, too, which is of PRUNED"
              + " as it is.")
  @Nullable Path adapter;

  @HelpSection.In(HelpSection.OUTPUT)
  @Option(
      names = "--report",
      paramLabel = "FILE.json",
      description = "Where the report goes. Default: OUT.report.json.")
  @Nullable Path reportFile;

  @ArgGroup TextOptions.@Nullable EvaluationSource evaluation;
  @Mixin HealOptions heal;
  @Mixin StateOptions state;
  @Mixin WriteOptions write;
  @Mixin DeviceOptions device;
  @Mixin PageOption html;
  @Mixin OutputOptions output;

  @Override
  public Integer call() throws IOException {
    Console console = output.console();
    HealRequest request =
        new HealRequest(
            heal.settings(),
            within == null ? null : within.seconds(),
            evaluation == null ? null : evaluation.text,
            evaluation == null ? null : evaluation.tokens);
    Path reportPath = reportFile != null ? reportFile : SideFiles.beside(out, ".report.json");
    try (Model open = Model.open(pruned);
        Model original = Model.open(teacher);
        SideFiles files = new SideFiles(out, open.directory());
        HealJob job = new HealJob(open, original, device.settings(), request)) {
      files.protect("the model of --teacher", original.directory());
      OutputFormat format = write.format(out);
      for (Model read : List.of(open, original)) {
        PlanApplier.checkTarget(read.checkpoint(), out, write.overwrite, console::warning);
      }
      int depth = open.config().numHiddenLayers();
      PlanApplier.checkFormat(open.checkpoint(), depth, depth, format);
      SideFiles.SideFile report = files.add("--report", reportPath);
      if (!write.overwrite) {
        OwnJson.HEAL_REPORT.requireReplaceable("--report", reportPath);
      }
      SideFiles.SideFile page = html.addBeside(files, out, write.overwrite);
      AdapterFiles adapters = AdapterFiles.add(adapter, files, open, request, write.overwrite);
      long reserved = requireSpace(open, job, report, page, adapters);
      PlanFiles kept = PruneCommand.keptPlan(files, out, write.overwrite);
      try (BestSoFar best =
          new BestSoFar(console, kept, plan -> StateOptions.goOn(plan, pruned, out))) {
        files.whenInterrupted(best::save);
        HealJob.Healed healed =
            job.keptIn(StateOptions.folder(out), state.every.seconds())
                .listener(event -> say(console, event, best))
                .progressOf(console.job())
                .scratchIn(SideFiles.folder(out), reserved)
                .run();
        ObjectNode json = HealJson.of(healed.report());
        Runnable besideOut =
            () -> {
              report.write(json.toPrettyString() + "\n");
              page.write(page(console, request, healed.report()).html());
              healed.adapter().ifPresent(adapters::write);
            };
        best.keptIfFails(
            () -> {
              PlanApplier applier = healed.applier(format);
              CheckpointWrite.run(
                  applier, () -> healed.writeTo(out, write.overwrite, applier, besideOut));
              return applier;
            });
        best.finish(files::publish);
        result(console, healed.report());
        console.resultLine("report", "%s", reportPath);
        console.resultLine("page", "%s", html.beside(out));
        if (adapter != null) {
          console.resultLine("adapter", "%s", adapter);
        }
        if (output.json) {
          console.document(json);
        }
        console.next(PruneCommand.tryOut(out));
      }
    }
    return 0;
  }

  /**
   * A disk that may turn out too small is an error before the training, not after it.
   *
   * @return the bytes that OUT and the state of the training may still take on theirs
   */
  private long requireSpace(
      Model open,
      HealJob job,
      SideFiles.SideFile report,
      SideFiles.SideFile page,
      AdapterFiles adapters)
      throws IOException {
    DiskSpace space = new DiskSpace();
    long bytes =
        PlanApplier.mostBytes(
            open.checkpoint(), open.config().numHiddenLayers(), write.format(out));
    space.add(out.toString(), OutputFiles.realPath(out), bytes);
    space.add("--report " + report.file(), report.file(), REPORT);
    bytes += StateOptions.addTo(space, out, job.mostStateBytes());
    space.add("--html " + page.file(), page.file(), REPORT);
    adapters.addTo(space);
    space.require();
    return bytes;
  }

  private PicturesPage page(Console console, HealRequest request, HealReport report) {
    return HealPage.of(
        report,
        out,
        PicturesPage.Made.by(output, console, request),
        new PicturesPage.Next(
            "Measure the tasks that matter to you beside the original:",
            "laco eval "
                + Shell.quoted(teacher)
                + " --against "
                + Shell.quoted(out)
                + " --tasks probes"));
  }

  private static void result(Console console, HealReport report) {
    HealReport.Quality quality = report.quality();
    if (quality == null) {
      console.resultLine(
          "held out",
          "divergence %.4f → %.4f nats a token",
          report.training().measurements().getFirst().divergence(),
          report.training().best().divergence());
      return;
    }
    console.resultLine(
        "quality",
        "perplexity %.2f (dense) → %.2f (pruned) → %.2f (healed), on %s",
        quality.dense().perplexity(),
        quality.before().perplexity().perplexity(),
        quality.after().perplexity().perplexity(),
        quality.text());
  }

  private static void say(Console console, JobEvent event, BestSoFar best) {
    switch (event) {
      case HealEvent.BetterModel better -> best.set(better.plan(), better.tensors());
      case HealEvent own -> HealLines.say(console, own);
      default -> JobLines.say(console, event);
    }
  }
}
