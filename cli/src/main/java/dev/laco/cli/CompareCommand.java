package dev.laco.cli;

import dev.laco.Model;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareJson;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.CompareResult;
import dev.laco.compare.Strategy;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Prunes a model to one size by this engine's way and by others', and measures what each leaves.
 */
@HelpSection.In(HelpSection.MEASURE)
@Command(
    name = "compare",
    description = "Compare ways to make a model shallower: one size, one text, one table.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco compare MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco compare models/storyteller --target-layers 12"})
final class CompareCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @ArgGroup @Nullable TargetSize size;

  @Option(
      names = "--strategies",
      paramLabel = "NAME",
      split = ",",
      completionCandidates = Strategies.class,
      description =
          "Compare these only, of ${COMPLETION-CANDIDATES}. laco is the default of prune without its training, laco-RULE with another"
              + " rule, laco-merge its search alone. Default: laco and all that others do.")
  List<Strategy> strategies = Strategy.usual();

  @Option(
      names = "--last-word",
      paramLabel = "FILE.jsonl",
      arity = "0..1",
      fallbackValue = "",
      description =
          "Measure also how often the last word of a passage is known, as eval does. Default: built-in passages.")
  @Nullable Path lastWord;

  @Mixin TextOptions texts;
  @Mixin FitOptions fit;
  @Mixin DeviceOptions device;
  @Mixin PageOption html;
  @Mixin OutputOptions output;

  @Override
  public Integer call() throws IOException {
    try (Model open = Model.open(model);
        SideFiles files = new SideFiles(null, open.directory())) {
      Console console = output.console();
      CompareLines lines = new CompareLines(console);
      CompareRequest request = request();
      CompareJob job = new CompareJob(open, device.settings(), request);
      SideFiles.SideFile htmlFile = html.add(files);
      CompareResult result = job.listener(lines).progressOf(console.job()).run();
      if (output.json) {
        console.document(CompareJson.of(result));
      } else {
        lines.result(result);
      }
      String prune =
          String.format(
              Locale.ROOT,
              "laco prune %s OUT --target-layers %d",
              Shell.quoted(model),
              result.layersOut());
      if (htmlFile != null) {
        htmlFile.write(
            ComparePage.of(
                    result,
                    PicturesPage.Made.by(output, console, request),
                    new PicturesPage.Next("Write the model of laco:", prune))
                .html());
        files.publish();
        console.resultLine("page", "%s", htmlFile.file());
      }
      console.next(prune);
    }
    return 0;
  }

  private CompareRequest request() {
    return new CompareRequest(
        (size == null ? new TargetSize() : size).goal(),
        strategies,
        texts.settings(),
        fit.settings(),
        lastWord == null ? null : EvalCommand.passages(lastWord));
  }
}
