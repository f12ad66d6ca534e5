package dev.laco.cli;

import dev.laco.Model;
import dev.laco.analysis.SimilarityJob;
import dev.laco.analysis.SimilarityJson;
import dev.laco.analysis.SimilarityRequest;
import dev.laco.analysis.SimilarityResult;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Measures how alike the layers of a model are, and what their removal costs. */
@HelpSection.In(HelpSection.MEASURE)
@Command(
    name = "similarity",
    description = "Measure how alike the layers of a model are, and what their removal costs.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco similarity MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco similarity models/storyteller --out out/similarity"})
final class SimilarityCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Option(
      names = "--parts",
      paramLabel = "NAME",
      split = ",",
      description =
          "Measure these only, of ${COMPLETION-CANDIDATES}: matrices of the layers (no text needed), hidden states between"
              + " them, what the loss of one or several layers costs. Default: all.")
  List<SimilarityRequest.Part> parts = SimilarityRequest.Part.all();

  @Option(
      names = "--calibration",
      paramLabel = "FILE",
      description =
          "The text that the model runs over, as of prune. Default: the model's calibration.txt, else ten built-in"
              + " sentences.")
  @Nullable Path calibration;

  @Option(
      names = "--longest-span",
      paramLabel = "N",
      description =
          "The most consecutive layers whose removal is measured. Default: half of the layers.")
  @Nullable Integer longestSpan;

  @HelpSection.In(HelpSection.OUTPUT)
  @Option(
      names = "--out",
      paramLabel = "FOLDER",
      description =
          "Write there similarity.json, and the same numbers as a page, tables and pictures: similarity.html, layers.csv,"
              + " pairs.csv, spans.csv and *.svg.")
  @Nullable Path out;

  @Mixin DeviceOptions device;
  @Mixin PageOption html;
  @Mixin OutputOptions output;

  @Override
  public Integer call() throws IOException {
    SimilarityRequest request = new SimilarityRequest(parts, calibration, longestSpan);
    Console console = output.console();
    try (Model open = Model.open(model);
        SideFiles side = new SideFiles(null, open.directory())) {
      SimilarityFiles files = out == null ? null : SimilarityFiles.add(side, out);
      SideFiles.SideFile page =
          html.addIn(side, out == null ? null : out.resolve(SimilarityFiles.PAGE));
      SimilarityResult result =
          new SimilarityJob(open, device.settings(), request)
              .listener(event -> JobLines.say(console, event))
              .progressOf(console.job())
              .run();
      SequencedMap<String, PicturesPage.Picture> pictures = SimilarityPictures.of(result);
      if (files != null) {
        files.write(result, pictures);
      }
      if (page != null) {
        PicturesPage.Made made = PicturesPage.Made.by(output, console, request);
        page.write(SimilarityFiles.page(result, next(result), made, pictures.values()).html());
      }
      if (files == null) {
        side.publish();
      } else {
        files.publish();
        console.line("wrote", "%s", files.folder());
      }
      if (html.file != null) {
        console.line("page", "%s", html.file);
      }
      if (output.json) {
        console.document(SimilarityJson.of(result));
      } else {
        console.result(SimilarityLines.of(result));
      }
      console.next(next(result));
    }
    return 0;
  }

  /** The command that prunes as many layers as cost little. */
  private String next(SimilarityResult result) {
    String prune = "laco prune " + Shell.quoted(model) + " OUT";
    return result.removals() == null
        ? prune
        : String.format(
            Locale.ROOT,
            "%s --target-layers %d",
            prune,
            result.layers() - result.removals().cheapest().size());
  }
}
