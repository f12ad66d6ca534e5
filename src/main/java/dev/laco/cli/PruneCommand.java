package dev.laco.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.DiskSpace;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.ConfigRewriter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

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

  @Parameters(index = "0", paramLabel = "MODEL", description = OpenModel.MODEL)
  Path model;

  @Parameters(
      index = "1",
      arity = "0..1",
      paramLabel = "OUT",
      description = "Folder to write. Left out with --dry-run.")
  @Nullable Path out;

  @Mixin SearchOptions search;

  @Mixin TextOptions texts;
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

  @Option(
      names = "--dry-run",
      description = "Search only: no OUT, and a plan or report only where named.")
  boolean dryRun;

  @Mixin FitOptions fit;
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
    Console console = output.console();
    long start = System.nanoTime();
    Path reportPath = reportFile != null || out == null ? reportFile : defaultReport(out);
    try (OpenModel open = OpenModel.open(model);
        SideFiles files = new SideFiles(open.directory(), out);
        MemoryArena newTensors = new MemoryArena()) {
      SearchOptions.Chosen chosen = search.choose(open);
      if (out != null) {
        PlanApplier.checkTarget(open.checkpoint(), out, write.overwrite, console::warning);
      }
      requireConfigOfAnyDepth(open);
      PlanFiles plan = planFile == null ? null : PlanFiles.add(files, planFile);
      SideFiles.SideFile report = reportPath == null ? null : files.add("--report", reportPath);
      requireSpace(open, chosen, plan, report);
      PruneRun.Outcome outcome;
      try (BestSoFar best = new BestSoFar(console, files, plan)) {
        files.whenInterrupted(best::save);
        outcome = new PruneRun(this, console, open, best, newTensors).run(start, chosen);
      }
      ObjectNode json = writeAll(console, open, outcome, plan, report);
      files.publish();
      sayWhere(console, reportPath);
      if (output.json) {
        console.document(json);
      }
    }
    return 0;
  }

  /** A disk that may turn out too small is an error before the search, not after it. */
  private void requireSpace(
      OpenModel open,
      SearchOptions.Chosen chosen,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report)
      throws IOException {
    DiskSpace space = new DiskSpace();
    int depth = open.config().numHiddenLayers();
    if (out != null) {
      int most = chosen.target() == null ? depth : chosen.target();
      space.add(
          out.toString(),
          OutputFiles.realPath(out),
          PlanApplier.mostBytes(open.checkpoint(), most));
    }
    if (plan != null) {
      long tensors =
          chosen.fit() == null ? 0 : PruneRun.newWeights(open, chosen.fit(), chosen.target());
      space.add("--plan " + planFile, plan.plan().file(), SIDE_FILE + tensors);
    }
    if (report != null) {
      space.add("--report " + report.file(), report.file(), SIDE_FILE);
    }
    space.require();
  }

  /** A config that cannot be re-indexed is an error before the search, not after it. */
  private static void requireConfigOfAnyDepth(OpenModel open) {
    int depth = open.config().numHiddenLayers();
    ConfigRewriter.rewrite(
        open.directory().resolve(Checkpoint.CONFIG).toString(),
        open.checkpoint().configJson(),
        IntStream.range(0, Math.max(1, depth - 1)).boxed().toList());
  }

  /**
   * Writes checkpoint, plan and report; all but the checkpoint still lack their names afterwards.
   */
  private ObjectNode writeAll(
      Console console,
      OpenModel open,
      PruneRun.Outcome outcome,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report)
      throws IOException {
    if (out == null) {
      CollapsePlan written =
          plan == null ? outcome.plan() : plan.naming(outcome.plan(), outcome.newTensors());
      return writeSideFiles(outcome, written, null, plan, report);
    }
    long start = System.nanoTime();
    PlanApplier applier =
        new PlanApplier(
            open.checkpoint(),
            outcome.plan(),
            outcome.newTensors(),
            write.maxShardSize.bytes(),
            console::warning);
    ObjectNode[] json = new ObjectNode[1];
    try (ProgressLine progress = console.progress("write")) {
      applier.write(
          out,
          write.overwrite,
          new WrittenBytes(progress, applier.tensorBytes()),
          () ->
              json[0] =
                  writeSideFiles(outcome, applier.plan(), PruneRun.seconds(start), plan, report));
    }
    console.resultLine(
        "wrote",
        "%s: %s, was %s",
        out,
        ByteSize.show(applier.tensorBytes()),
        ByteSize.show(open.checkpoint().totalBytes()));
    return json[0];
  }

  private static ObjectNode writeSideFiles(
      PruneRun.Outcome outcome,
      CollapsePlan written,
      @Nullable Double writeSeconds,
      @Nullable PlanFiles plan,
      SideFiles.@Nullable SideFile report) {
    if (plan != null) {
      plan.write(outcome.plan(), outcome.newTensors());
    }
    ObjectNode json = outcome.report().apply(written, writeSeconds).toJson();
    if (report != null) {
      report.write(json.toPrettyString() + "\n");
    }
    return json;
  }

  private void sayWhere(Console console, @Nullable Path reportPath) {
    Path plan = planFile == null && out != null ? out.resolve(PlanApplier.PLAN) : planFile;
    if (plan != null) {
      console.resultLine("plan", "%s", plan);
    }
    if (reportPath != null) {
      console.resultLine("report", "%s", reportPath);
    }
  }

  /** {@code OUT.report.json}, beside OUT. */
  private static Path defaultReport(Path out) {
    Path named = out.normalize();
    if (named.toString().isEmpty() || named.endsWith("..")) {
      // "." and ".." have no name of their own.
      named = named.toAbsolutePath().normalize();
    }
    return named.resolveSibling(named.getFileName() + ".report.json");
  }
}
