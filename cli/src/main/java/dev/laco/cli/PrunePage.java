package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.JobProgress;
import dev.laco.Legible;
import dev.laco.Model;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.Work;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import dev.laco.report.PruneReport.Measured;
import dev.laco.report.PruneReport.NotMeasured;
import dev.laco.report.PruneSettings;
import dev.laco.report.ReportJson;
import dev.laco.report.Sample;
import java.nio.file.Path;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The page of a prune: what was done, whether the result is fit for use, what it cost, what next.
 */
final class PrunePage {
  /** Template sections of a part that is left out. */
  private static final boolean NONE = false;

  private final PruneReport report;
  private final @Nullable Path out;

  private PrunePage(PruneReport report, @Nullable Path out) {
    this.report = report;
    this.out = out;
  }

  /**
   * The page as HTML.
   *
   * @param report what the prune did
   * @param out the checkpoint that was written; null for a search alone
   */
  static String of(PruneReport report, @Nullable Path out) {
    return new PrunePage(report, out).html();
  }

  private String html() {
    Map<String, Object> values = new HashMap<>();
    String title =
        format(
            "%s: %d of %d layers",
            Model.name(Path.of(report.model().path())),
            report.plan().depth(),
            report.plan().source().layers());
    values.put("title", title);
    values.put("version", report.origin().version());
    values.put("date", report.origin().date().truncatedTo(ChronoUnit.SECONDS).toString());
    values.put("seconds", JobProgress.exactly(report.timings().total()));
    values.put("device", report.device());
    values.put("verdict", verdict());
    values.put("did", did());
    values.put("quality", quality());
    values.put("facts", facts());
    values.put("warnings", report.warnings());
    values.put("layerMap", PrunePictures.layerMap(report));
    values.put("layers", report.layers().describe());
    values.put("search", report.search().trials().isEmpty() ? NONE : search());
    FitReport fit = report.fit();
    values.put("fit", fit == null ? NONE : fit(fit));
    PruneReport.Healing heal = report.heal();
    values.put(
        "heal",
        heal == null
            ? NONE
            : Map.of("how", how(heal), "pictures", values(HealPage.pictures(heal.training()))));
    values.put("beside", report.quality() instanceof Measured measured ? beside(measured) : NONE);
    values.put("next", next());
    values.put("costs", costs());
    values.put("command", command());
    values.put("settings", settings());
    values.put("request", ReportJson.of(report).get("request").toPrettyString());
    return Page.of("prune", title, values);
  }

  private Map<String, Object> verdict() {
    if (report.plan().isIdentity()) {
      return verdict(
          "fair", "Unchanged", "No layer was removed: lower --threshold or name a size.");
    }
    return switch (report.quality()) {
      case Measured measured -> {
        Verdict verdict = Verdict.of(measured);
        yield verdict(verdict.tone(), verdict.word(), verdict.advice());
      }
      case NotMeasured _ ->
          verdict(
              "fair",
              "Not measured",
              "Nobody knows yet what the model can still do: measure it before you use it.");
    };
  }

  private static Map<String, Object> verdict(String tone, String word, String advice) {
    return Map.of("tone", tone, "word", word, "advice", advice);
  }

  private String did() {
    int layers = report.plan().source().layers();
    int gone = layers - report.plan().depth();
    return format(
        "%d of %d layers went (%.0f %%), and with them %.0f %% of the parameters.",
        gone,
        layers,
        100.0 * gone / layers,
        100.0 * (report.parametersIn() - report.parametersOut()) / report.parametersIn());
  }

  private String quality() {
    return switch (report.quality()) {
      case Measured measured ->
          format(
              "Perplexity on %s went from %.2f to %.2f (× %.3f).",
              measured.text(),
              measured.dense().perplexity(),
              measured.pruned().perplexity(),
              measured.pruned().perplexity() / measured.dense().perplexity());
      case NotMeasured not -> format("Perplexity was not measured: %s.", not.reason());
    };
  }

  /**
   * What shows where the pruned model parts from the original; {@link #NONE} where nothing does.
   */
  private static Object beside(Measured measured) {
    List<PicturesPage.Picture> pictures = PrunePictures.ofQuality(measured);
    if (pictures.isEmpty() && measured.samples().isEmpty()) {
      return NONE;
    }
    return Map.of(
        "pictures",
        values(pictures),
        "samples",
        measured.samples().isEmpty()
            ? NONE
            : Map.of("all", measured.samples().stream().map(PrunePage::sample).toList()));
  }

  private static Map<String, Object> sample(Sample sample) {
    return Map.of(
        "prompt",
        Legible.lines(sample.prompt()),
        "models",
        List.of(
            continuation("original", sample.original(), sample.same()),
            continuation("pruned", sample.pruned(), sample.same())));
  }

  private static Map<String, Object> continuation(String model, List<String> tokens, int same) {
    int parts = Math.min(same + 1, tokens.size());
    return Map.of(
        "model",
        model,
        "same",
        Legible.lines(String.join("", tokens.subList(0, same))),
        "parts",
        same == parts
            ? NONE
            : Map.of(
                "token",
                Legible.lines(tokens.get(same)),
                "rest",
                Legible.lines(String.join("", tokens.subList(parts, tokens.size())))));
  }

  private List<Map<String, Object>> facts() {
    List<Map<String, Object>> facts = new ArrayList<>();
    facts.add(
        pair("layers", format("%d → %d", report.plan().source().layers(), report.plan().depth())));
    facts.add(
        pair(
            "parameters",
            format(
                "%s → %s",
                together(count(report.parametersIn())), together(count(report.parametersOut())))));
    facts.add(
        pair(
            "weights",
            together(ByteSize.show(report.model().bytes()))
                + " → "
                + together(ByteSize.show(report.bytesOut()))));
    if (report.quality() instanceof Measured measured) {
      facts.add(
          pair(
              "perplexity",
              format(
                  "%.2f → %.2f", measured.dense().perplexity(), measured.pruned().perplexity())));
    }
    facts.add(pair("similarity of outputs", format("%.4f", report.search().finalSimilarity())));
    facts.add(pair("time", JobProgress.exactly(report.timings().total())));
    return facts;
  }

  private Map<String, Object> search() {
    SearchResult search = report.search();
    List<Trial> trials = search.trials();
    List<Trial> accepted = trials.stream().filter(Trial::accepted).toList();
    boolean language = accepted.stream().allMatch(trial -> trial.score().language() != null);
    Map<String, Object> values = new HashMap<>();
    values.put(
        "how",
        format(
            "%s%,d merges were tried on %s (%,d tokens), and compared by %s%s.%s",
            search.blocks().isEmpty()
                ? ""
                : format(
                    "What the removal of each of %,d blocks of layers costs was measured in closed"
                        + " form. On the way to the models whose blocks cost least together, ",
                    search.blocks().size()),
            trials.size(),
            report.settings().calibration().text(),
            report.settings().calibration().tokens(),
            PrunePictures.measure(PrunePictures.objective(trials)),
            search.cutShort() ? "; the budget ended the search before all were tried" : "",
            choice()));
    values.put("pictures", values(PrunePictures.ofSearch(report)));
    values.put("language", language);
    values.put("accepted", accepted.stream().map(PrunePage::accepted).toList());
    return values;
  }

  /** How the model was chosen among the best of the search, where weights were not fitted. */
  private String choice() {
    ChoiceReport choice = report.choice();
    return choice == null
        ? ""
        : format(
            " The model was chosen among %d: the best of the search and those of other methods, by"
                + " %s on %s (%,d tokens), which the search had not seen: %.4f; the model that the"
                + " table leads to has %.4f.",
            choice.contenders().size(),
            choice.objective().optionValue(),
            choice.text(),
            choice.tokens(),
            choice.chosen(),
            choice.searched());
  }

  private static Map<String, Object> accepted(Trial trial) {
    Map<String, Object> row = new HashMap<>();
    row.put("trial", trial.step());
    row.put("before", trial.layersBefore());
    row.put("base", trial.base());
    row.put("merged", trial.merged());
    Trial.Choice choice = trial.choice();
    row.put("rule", choice == null ? "" : choice.rule().label());
    row.put("similarity", format("%.6f", trial.score().mean()));
    row.put(
        "nll",
        trial.score().language() == null ? "" : format("%.6f", trial.score().language().nll()));
    return row;
  }

  private Map<String, Object> fit(FitReport fit) {
    return Map.of("how", how(fit), "pictures", values(PrunePictures.ofFit(fit)));
  }

  private static List<Map<String, Object>> values(List<PicturesPage.Picture> pictures) {
    return pictures.stream().map(PicturesPage.Picture::values).toList();
  }

  private static String how(FitReport fit) {
    if (fit.tokens() == 0) {
      return "The fit was left out: on documents held out the merged model predicts better"
          + " without.";
    }
    double dropped = fit.contenders().isEmpty() ? 0 : fit.contenders().getFirst().meanNll();
    String choice =
        fit.contenders().stream().filter(FitReport.Contender::fitted).count() == 0
            ? ""
            : format(
                " On documents held out of the fit, the best of the search had an nll of %.3f;"
                    + " after a quick fit the best of %d models had %.3f.",
                dropped,
                fit.contenders().stream().filter(FitReport.Contender::fitted).count(),
                fit.contenders().stream()
                    .filter(FitReport.Contender::fitted)
                    .mapToDouble(FitReport.Contender::meanNll)
                    .min()
                    .orElseThrow());
    return format(
            "%s: %d %s were fitted to what the original computes, on %,d tokens of %s, by %s.",
            fit.rule().label(),
            fit.rule().reconstructs() ? fit.layers() : fit.matrices().size(),
            fit.rule().reconstructs() ? "layers" : "matrices",
            fit.tokens(),
            fit.text(),
            fit.solver())
        + choice;
  }

  private static String how(PruneReport.Healing heal) {
    return format(
        "%s were trained on %,d tokens of %s to predict what the original predicts. Nll of its"
            + " held-out part, after each stage: %s; the original has %.3f.",
        heal.training().start().trained(),
        heal.training().start().tokens(),
        heal.training().start().text(),
        heal.stages().stream()
            .map(stage -> format("%s %.3f", stage.name(), stage.nll()))
            .collect(Collectors.joining(", ")),
        heal.training().originalNll());
  }

  private List<Map<String, Object>> next() {
    List<Map<String, Object>> next = new ArrayList<>();
    String original = Shell.quoted(Path.of(report.model().path()));
    if (out == null) {
      next.add(
          advice("Write the model: the same command with a folder in place of --dry-run.", null));
    } else {
      String pruned = Shell.quoted(out);
      next.add(
          advice(
              "Read what it writes.",
              "laco generate " + pruned + " --prompt \"Once upon a time\""));
      next.add(
          advice(
              "Measure the text that you care about.", "laco eval " + pruned + " --text FILE.txt"));
      PruneCommand.training(report, out)
          .ifPresent(
              train ->
                  next.add(
                      advice("Train it for a short time: it wins back some of its loss.", train)));
    }
    int depth = report.plan().depth();
    if (report.quality() instanceof Measured measured && !report.plan().isIdentity()) {
      Verdict verdict = Verdict.of(measured);
      int gone = report.plan().source().layers() - depth;
      int some = Math.max(1, gone / 3);
      if (verdict == Verdict.CLOSE && depth - some >= 1) {
        next.add(
            advice(
                format("It is %s: there is room for fewer layers.", verdict.lowercase()),
                format("laco prune %s OUT --target-layers %d", original, depth - some)));
      } else if (verdict != Verdict.WEAKER && verdict != Verdict.CLOSE) {
        next.add(
            advice(
                format("It is %s: leave more layers.", verdict.lowercase()),
                format("laco prune %s OUT --target-layers %d", original, depth + some)));
      }
    }
    next.add(
        advice(
            "See which other layers could go, and what each removal costs.",
            "laco similarity " + original + " --out FOLDER"));
    return next;
  }

  private static Map<String, Object> advice(String what, @Nullable String command) {
    return Map.of("what", what, "command", command == null ? NONE : Map.of("command", command));
  }

  private List<Map<String, Object>> costs() {
    List<Map<String, Object>> costs = new ArrayList<>();
    PruneReport.Timings timings = report.timings();
    costs.add(pair("load", JobProgress.exactly(timings.load())));
    costs.add(pair("search", JobProgress.exactly(timings.search())));
    ChoiceReport choice = report.choice();
    if (choice != null) {
      costs.add(pair("choice among models", JobProgress.exactly(choice.seconds())));
    }
    FitReport fit = report.fit();
    if (fit != null) {
      costs.add(pair("choice among models", JobProgress.exactly(fit.choiceSeconds())));
      costs.add(pair("fit", JobProgress.exactly(fit.fitSeconds())));
    }
    if (timings.write() != null) {
      costs.add(pair("write", JobProgress.exactly(timings.write())));
    }
    Work work = report.work();
    if (work.floorOperations() > 0) {
      costs.add(
          pair(
              "work of the search",
              format(
                  "%,d passes over the layers, %s of weights read, %.3g operations; each model"
                      + " alone, from its first layer that is not the original's, would take %.3g",
                  work.passes(),
                  ByteSize.show(work.bytesRead()),
                  (double) work.operations(),
                  (double) work.floorOperations())));
    }
    costs.add(pair("device", report.device()));
    costs.add(pair("memory", report.memory()));
    if (!timings.productRates().isEmpty()) {
      costs.add(
          pair(
              "matrix products",
              timings.productRates().entrySet().stream()
                  .map(
                      rate -> format("%s %.3g operations a second", rate.getKey(), rate.getValue()))
                  .collect(Collectors.joining(", "))));
    }
    return costs;
  }

  private Object command() {
    List<String> command = report.origin().command();
    return command.isEmpty()
        ? NONE
        : Map.of(
            "command",
            "laco " + command.stream().map(Shell::quoted).collect(Collectors.joining(" ")));
  }

  private List<Map<String, Object>> settings() {
    List<Map<String, Object>> settings = new ArrayList<>();
    settings.add(pair("model", report.model().path()));
    settings.add(
        pair(
            "architecture",
            format(
                "%s, %s, %s",
                report.model().architecture(),
                report.model().dtype(),
                ByteSize.show(report.model().bytes()))));
    PruneSettings used = report.settings();
    settings.add(pair("rule", used.rule()));
    settings.add(
        pair(
            "calibration",
            format(
                "%s: %,d sentences, %,d tokens",
                used.calibration().text(),
                used.calibration().sentences(),
                used.calibration().tokens())));
    PruneSettings.Fit fit = used.fit();
    if (fit != null) {
      settings.add(pair("text of the fit", format("%s: %,d tokens", fit.text(), fit.tokens())));
    }
    if (report.quality() instanceof Measured measured) {
      settings.add(
          pair("evaluation", format("%s: %,d tokens", measured.text(), measured.dense().tokens())));
    }
    settings.add(pair("products", used.products().shortName()));
    settings.add(pair("digest of the model", report.model().digest()));
    settings.add(pair("job", report.jobId()));
    return settings;
  }

  private static Map<String, Object> pair(String name, Object value) {
    return Map.of("name", name, "value", value);
  }

  /** A number and its unit, which stay on one line. */
  private static String together(String number) {
    return number.replace(' ', '\u00a0');
  }

  /** {@code 135 M}, with three digits. */
  private static String count(long parameters) {
    return parameters >= 1_000_000_000
        ? format("%.2f B", parameters / 1e9)
        : parameters >= 1_000_000 ? format("%.1f M", parameters / 1e6) : format("%,d", parameters);
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
