package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.checkpoint.DiskSpace;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.compare.Strategy;
import dev.laco.curve.CurveEvent;
import dev.laco.curve.CurveJob;
import dev.laco.curve.CurveJson;
import dev.laco.curve.CurveRequest;
import dev.laco.curve.CurveResult;
import dev.laco.curve.CurveResult.Point;
import dev.laco.prune.Goal;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Prunes a model to many sizes by one search, and measures each. */
@Command(
    name = "sweep",
    description =
        "Prune a model to many sizes by one search: a table and a curve of quality over size.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco sweep MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco sweep models/storyteller --layers 15..10 --out out/sweep"})
final class SweepCommand implements Callable<Integer> {
  /** More bytes than plans, measurements, tables and pictures take. */
  private static final long OTHER_FILES = 16L << 20;

  /** What picocli gives for {@code --compare} alone. */
  private static final String USUAL = "usual";

  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @ArgGroup @Nullable Sizes sizes;

  @HelpSection.In(HelpSection.RULE)
  @Option(names = "--rule", paramLabel = "RULE", description = "A rule of prune. Default: auto.")
  @Nullable String rule;

  @HelpSection.In(HelpSection.MEASURE)
  @Option(
      names = "--compare",
      paramLabel = "NAME",
      split = ",",
      arity = "0..1",
      fallbackValue = USUAL,
      description =
          "Measure these strategies of compare at every size, too. Without names: all that others"
              + " do.")
  @Nullable List<String> compare;

  @HelpSection.In(HelpSection.OUTPUT)
  @Option(
      names = "--out",
      paramLabel = "FOLDER",
      description =
          "Where plans and numbers are kept; the same command goes on there after an interrupt."
              + " Default: MODEL's name with .sweep, here.")
  @Nullable Path out;

  @Mixin TextOptions texts;
  @Mixin FitOptions fit;
  @Mixin DeviceOptions device;
  @Mixin PageOption html;
  @Mixin OutputOptions output;

  /** The sizes that are asked for. */
  @HelpSection.In(HelpSection.SIZE)
  static final class Sizes {
    private static final Pattern RANGE = Pattern.compile("(\\d{1,5})(?:\\.\\.(\\d{1,5}))?");

    @Option(
        names = "--layers",
        paramLabel = "N..M",
        split = ",",
        description =
            "Leave these numbers of layers: 30..18, or 30,26,22. Default: at most ten sizes, down"
                + " to half of the layers.")
    @Nullable List<String> layers;

    @Option(
        names = "--ratios",
        paramLabel = "R",
        split = ",",
        description = "Remove these shares of the layers: 10%%,20%%,30%%.")
    @Nullable List<Share> ratios;

    @Option(
        names = "--bytes",
        paramLabel = "BYTES",
        split = ",",
        description = "Leave as many layers as weights of these sizes hold: 12GB,10GB.")
    @Nullable List<ByteSize> bytes;

    List<Goal> goals() {
      List<Goal> goals = new ArrayList<>();
      if (layers != null) {
        layers.forEach(text -> numbers(text).mapToObj(Goal::layers).forEach(goals::add));
      }
      if (ratios != null) {
        ratios.forEach(share -> goals.add(Goal.ratio(share.value())));
      }
      if (bytes != null) {
        bytes.forEach(size -> goals.add(Goal.bytes(size.bytes())));
      }
      return goals;
    }

    private static IntStream numbers(String text) {
      Matcher matcher = RANGE.matcher(text.strip());
      if (!matcher.matches()) {
        throw new UsageException(
            "--layers " + text + ": expected a number or a range, such as 30..18");
      }
      int from = Integer.parseInt(matcher.group(1));
      int to = matcher.group(2) == null ? from : Integer.parseInt(matcher.group(2));
      return IntStream.rangeClosed(Math.min(from, to), Math.max(from, to));
    }
  }

  @Override
  public Integer call() throws IOException {
    Console console = output.console();
    CurveRequest request = request();
    try (Model open = Model.open(model);
        SideFiles side = new SideFiles(null, open.directory())) {
      Path folder = out != null ? out : Path.of(open.name() + ".sweep");
      SweepFiles files =
          SweepFiles.add(
              side,
              folder,
              Objects.requireNonNull(html.addIn(side, folder.resolve(SweepFiles.PAGE))));
      CurveJob job = new CurveJob(open, device.settings(), request, folder);
      // A disk that may turn out too small is an error before the search, not after it.
      DiskSpace space = new DiskSpace();
      space.add("--out " + folder, OutputFiles.realPath(folder), job.mostNewBytes() + OTHER_FILES);
      space.require();
      CurveResult result =
          job.listener(event -> say(console, event)).progressOf(console.job()).run();
      Point next = result.knee().orElse(result.points().getFirst());
      String apply =
          String.format(
              Locale.ROOT,
              "laco apply %s %s OUT",
              Shell.quoted(folder.resolve(next.plan())),
              Shell.quoted(model));
      files.write(result, apply, PicturesPage.Made.by(output, console, request));
      side.publish();
      if (output.json) {
        console.document(CurveJson.of(result));
      } else {
        console.result(SweepLines.of(result));
      }
      console.line("wrote", "%s", folder);
      if (html.file != null) {
        console.line("page", "%s", html.file);
      }
      console.next(apply + " writes the model of " + next.layers() + " layers");
    }
    return 0;
  }

  private CurveRequest request() {
    return new CurveRequest(
        sizes == null ? List.of() : sizes.goals(),
        rule,
        texts.settings(),
        fit.settings(),
        compare == null ? List.of() : compare.stream().flatMap(SweepCommand::strategies).toList());
  }

  private static Stream<Strategy> strategies(String name) {
    return name.equals(USUAL)
        ? Strategy.usual().stream().filter(strategy -> !strategy.equals(Strategy.DEFAULT))
        : Stream.of(Strategy.named(name));
  }

  private static void say(Console console, JobEvent event) {
    switch (event) {
      case CurveEvent.Searched searched ->
          console.line(
              "search",
              "%s",
              searched.blocks() > 0
                  ? String.format(Locale.ROOT, "%,d blocks of layers measured", searched.blocks())
                  : searched.models() > 0
                      ? String.format(Locale.ROOT, "%,d models tried", searched.models())
                      : "known");
      case CurveEvent.PointMeasured measured ->
          console.line(
              "point",
              "%d layers, perplexity %.2f%s",
              measured.point().layers(),
              measured.point().fidelity().perplexity().perplexity(),
              measured.known() ? ", known" : "");
      default -> JobLines.say(console, event);
    }
  }
}
