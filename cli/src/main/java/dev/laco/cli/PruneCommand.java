package dev.laco.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.JobProgress;
import dev.laco.LacoVersion;
import dev.laco.Model;
import dev.laco.Request;
import dev.laco.UsageException;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.DiskSpace;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.heal.HealSettings;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.PruneResult;
import dev.laco.report.PruneReport;
import dev.laco.report.ReportJson;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Prunes a checkpoint: search, measure, write. */
@HelpSection.In(HelpSection.OUTPUT)
@Command(
    name = "prune",
    description = "Make a checkpoint shallower: take layers out, refit those that stay.",
    mixinStandardHelpOptions = true,
    customSynopsis = {
      "laco prune MODEL OUT [OPTIONS]",
      "       laco prune MODEL --dry-run [OPTIONS]"
    },
    versionProvider = Version.class,
    footer = {
      "",
      "Example:",
      "  laco prune models/storyteller out/storyteller-small --target-layers 12"
    })
final class PruneCommand implements Callable<Integer> {
  /** More than a plan or a report takes. */
  private static final long SIDE_FILE = 1L << 20;

  @Parameters(index = "0", paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Parameters(
      index = "1",
      arity = "0..1",
      paramLabel = "OUT",
      description = "Folder to write, or GGUF file (OUT.gguf). Left out with --dry-run.")
  @Nullable Path out;

  @Mixin SearchOptions search;

  @Mixin TextOptions texts;
  @Mixin StateOptions state;
  @Mixin WriteOptions write;

  @Option(
      names = "--plan",
      paramLabel = "FILE.json",
      description = "Write the plan here too, and its new tensors to FILE.safetensors beside it.")
  @Nullable Path planFile;

  @Option(
      names = "--report",
      paramLabel = "FILE.json",
      description = "Where the report goes. Default: OUT.report.json.")
  @Nullable Path reportFile;

  @Mixin PageOption html;

  @Option(
      names = "--dry-run",
      description =
          "Search, fit, train and measure, and write no OUT; a plan, report or page only where"
              + " named.")
  boolean dryRun;

  @HelpSection.In(HelpSection.MEASURE)
  @Option(
      names = "--samples",
      paramLabel = "N",
      description =
          "Let both models continue N pieces of the evaluation text, for the page. Default: 3; 0"
              + " for none.")
  int samples = PruneJob.SAMPLES;

  @HelpSection.In(HelpSection.SEARCH)
  @Option(
      names = "--from-plan",
      paramLabel = "FILE.json",
      description =
          "Go on from a plan, such as an interrupted run keeps, in place of a search: fit it,"
              + " unless its new tensors are there or --rule is none that fits, measure, write.")
  @Nullable Path fromPlan;

  @HelpSection.In(HelpSection.SEARCH)
  @Option(
      names = "--request",
      paramLabel = "FILE.json",
      description =
          "Prune as a file says, in place of the options on size, rule, search, fit and texts:"
              + " {\"goal\": {\"layers\": 24}}, or what stands as request in a report.")
  @Nullable Path requestFile;

  @Spec CommandSpec spec;

  @Mixin TimeOptions time;
  @Mixin FitOptions fit;
  @Mixin HealOptions heal;
  @Mixin DeviceOptions device;
  @Mixin OutputOptions output;

  @Override
  public Integer call() throws IOException {
    if ((out == null) != dryRun) {
      throw new UsageException(
          dryRun
              ? "--dry-run writes no OUT: leave " + out + " out"
              : "OUT is missing: name the folder to write, or give --dry-run");
    }
    PruneRequest request = request();
    Console console = output.console();
    Instant began = Instant.now();
    Path reportPath =
        reportFile != null || out == null ? reportFile : SideFiles.beside(out, ".report.json");
    // What OUT cannot be is an error before the work.
    OutputFormat format = out == null ? null : write.format(out);
    try (JobProgress.Stage _ = console.progress("load");
        Model open = Model.open(model);
        SideFiles files = new SideFiles(out, open.directory());
        PruneJob job = new PruneJob(open, device.settings(), request, format)) {
      job.samples(samples);
      if (out != null && format != null) {
        PlanApplier.checkTarget(open.checkpoint(), out, write.overwrite, console::warning);
        PlanApplier.checkFormat(open.checkpoint(), 1, job.mostLayers(), format);
      }
      PlanFiles plan = planFile == null ? null : PlanFiles.add(files, planFile, write.overwrite);
      SideFiles.SideFile report = reportPath == null ? null : files.add("--report", reportPath);
      if (reportPath != null && !write.overwrite) {
        OwnJson.REPORT.requireReplaceable("--report", reportPath);
      }
      SideFiles.SideFile page =
          out == null
              ? html.add(files, write.overwrite)
              : html.addBeside(files, out, write.overwrite);
      long reserved = requireSpace(open, job, plan, report, page);
      PlanFiles kept = plan != null || out == null ? plan : keptPlan(files, out, write.overwrite);
      try (BestSoFar best = new BestSoFar(console, kept, file -> goOn(job, file))) {
        files.whenInterrupted(best::save);
        PruneLines lines = new PruneLines(console, best, open);
        if (out != null) {
          job.scratchIn(SideFiles.folder(out), reserved);
          job.keptIn(StateOptions.folder(out), state.every.seconds());
        }
        PruneResult result = job.listener(lines).progressOf(console.job()).run();
        lines.result(result);
        PruneReport.Origin origin =
            new PruneReport.Origin(LacoVersion.number(), began, output.arguments());
        Path written = out;
        PlanApplier applier =
            written == null
                ? null
                : best.keptIfFails(() -> result.applier(written, write.settings()));
        lines.verdict(result.report(), written, applier);
        ObjectNode json =
            best.keptIfFails(
                () ->
                    writeAll(
                        result,
                        applier,
                        all -> all.madeBy(origin, console.warnings()),
                        best,
                        plan,
                        report,
                        page));
        best.finish(files::publish);
        if (applier != null && applier.types() != null) {
          console.resultLine("types", "%s", applier.types());
        }
        sayWhere(console, reportPath, out == null ? html.file : html.beside(out));
        if (output.json) {
          console.document(json);
        }
        console.next(next(result.report()));
      }
    }
    return 0;
  }

  /** All that was asked for but where. */
  private PruneRequest request() {
    if (requestFile != null) {
      String why = " stands in the file of --request: leave it out";
      forbid(new SearchOptions(), "", why);
      forbid(new TextOptions(), "", why);
      forbid(new TimeOptions(), "", why);
      forbid(new FitOptions(), "", why);
      forbid(new HealOptions(), "", why);
      if (fromPlan != null) {
        throw new UsageException("--from-plan" + why);
      }
      return Request.read(requestFile, PruneRequest.class);
    }
    if (fromPlan != null) {
      // A rule may still fit.
      forbid(
          new SearchOptions(),
          "--rule",
          " is of a search, and --from-plan goes on without one: leave it out");
    }
    HealSettings healing = heal.settings();
    return new PruneRequest(
        search.goal(),
        search.settings(),
        search.rule,
        fit.settings(),
        texts.settings(),
        fromPlan,
        time.effort,
        healing.equals(HealSettings.DEFAULT) ? null : healing,
        time.within == null ? null : time.within.seconds());
  }

  /**
   * A disk that may turn out too small is an error before the search, not after it.
   *
   * @return the bytes that OUT and the state of a training may still take on theirs
   */
  private long requireSpace(
      Model open,
      PruneJob job,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report,
      SideFiles.@Nullable SideFile page)
      throws IOException {
    DiskSpace space = new DiskSpace();
    long bytes = 0;
    if (out != null) {
      bytes = PlanApplier.mostBytes(open.checkpoint(), job.mostLayers(), write.format(out));
      space.add(out.toString(), OutputFiles.realPath(out), bytes);
      bytes += StateOptions.addTo(space, out, job.mostStateBytes());
    }
    if (plan != null) {
      space.add("--plan " + planFile, plan.plan().file(), SIDE_FILE + job.mostNewBytes());
    }
    if (report != null) {
      space.add("--report " + report.file(), report.file(), SIDE_FILE);
    }
    if (page != null) {
      space.add("--html " + page.file(), page.file(), SIDE_FILE);
    }
    space.require();
    return bytes;
  }

  /** None of these options may be given, but for one. */
  private void forbid(Object options, String allowed, String why) {
    for (OptionSpec option : CommandSpec.forAnnotatedObject(options).options()) {
      String name = option.longestName();
      if (!name.equals(allowed) && spec.commandLine().getParseResult().hasMatchedOption(name)) {
        throw new UsageException(name + why);
      }
    }
  }

  /** Where an interrupt keeps the plan if nobody says. */
  static PlanFiles keptPlan(SideFiles files, Path out, boolean overwrite) throws IOException {
    return PlanFiles.add(files, SideFiles.beside(out, ".plan.json"), overwrite);
  }

  /** What people do with the result. */
  private String next(PruneReport report) {
    if (out != null) {
      Path pruned = out;
      return training(report, pruned)
          .map(train -> train + ", or laco eval " + Shell.quoted(pruned))
          .orElseGet(() -> tryOut(pruned));
    }
    return planFile != null
        ? String.format(
            Locale.ROOT,
            "laco apply %s %s OUT writes the model",
            Shell.quoted(planFile),
            Shell.quoted(model))
        : "the same with OUT in place of --dry-run writes the model";
  }

  /**
   * The command that trains a pruned model which predicts worse than the original; empty where the
   * model is close to the original, was trained as somebody asked, or was not measured.
   */
  static Optional<String> training(PruneReport report, Path pruned) {
    boolean open = report.request() instanceof PruneRequest request && request.leavesTrainingOpen();
    boolean gains =
        (report.heal() == null || open)
            && report.quality() instanceof PruneReport.Measured measured
            && Verdict.of(measured) != Verdict.CLOSE;
    return gains
        ? Optional.of(
            String.format(
                Locale.ROOT,
                "laco heal %s HEALED --teacher %s --within 10m",
                Shell.quoted(pruned),
                Shell.quoted(Path.of(report.model().path()))))
        : Optional.empty();
  }

  /** What people do with a pruned model. */
  static String tryOut(Path model) {
    String word = Shell.quoted(model);
    return "laco generate " + word + " --prompt \"Once upon a time\", or laco eval " + word;
  }

  private String goOn(PruneJob job, String plan) {
    if (out != null && job.repeatGoesOn()) {
      return StateOptions.goOn(plan, model, out);
    }
    return String.format(
        Locale.ROOT,
        "laco prune %s %s --from-plan %s goes on from it",
        Shell.quoted(model),
        out == null ? "--dry-run" : Shell.quoted(out),
        plan);
  }

  /**
   * Writes checkpoint, plan and report; all but the checkpoint still lack their names afterwards.
   */
  private ObjectNode writeAll(
      PruneResult result,
      @Nullable PlanApplier applier,
      UnaryOperator<PruneReport> ours,
      BestSoFar best,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report,
      SideFiles.@Nullable SideFile page) {
    Path folder = out;
    if (folder == null || applier == null) {
      PruneReport found = result.report();
      PruneReport written =
          plan == null ? found : found.withPlan(plan.naming(result.plan(), result.tensors()));
      return writeSideFiles(result, ours.apply(written), best, plan, report, page);
    }
    ObjectNode[] json = new ObjectNode[1];
    CheckpointWrite.run(
        applier,
        () ->
            result.writeTo(
                folder,
                write.overwrite,
                applier,
                written ->
                    json[0] =
                        writeSideFiles(result, ours.apply(written), best, plan, report, page)));
    return json[0];
  }

  private ObjectNode writeSideFiles(
      PruneResult result,
      PruneReport reported,
      BestSoFar best,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report,
      SideFiles.@Nullable SideFile page) {
    if (plan != null) {
      best.undisturbed(() -> plan.write(result.plan(), result.tensors()));
    }
    ObjectNode json = ReportJson.of(reported);
    if (report != null) {
      report.write(json.toPrettyString() + "\n");
    }
    if (page != null) {
      page.write(PrunePage.of(reported, out));
    }
    return json;
  }

  private void sayWhere(Console console, @Nullable Path reportPath, @Nullable Path pagePath) {
    Path plan =
        planFile == null && out != null && !OutputFormat.isGguf(out)
            ? out.resolve(PlanApplier.PLAN)
            : planFile;
    if (plan != null) {
      console.resultLine("plan", "%s", plan);
    }
    if (reportPath != null) {
      console.resultLine("report", "%s", reportPath);
    }
    if (pagePath != null) {
      console.resultLine("page", "%s", pagePath);
    }
  }
}
