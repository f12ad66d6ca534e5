package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.PicturesPage.Fact;
import dev.laco.cli.PicturesPage.Picture;
import dev.laco.cli.PicturesPage.Table;
import dev.laco.cli.chart.LineChart;
import dev.laco.cli.chart.LineChart.Mark;
import dev.laco.cli.chart.LineChart.Series;
import dev.laco.heal.HealReport;
import dev.laco.report.Fidelity;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingMeasurement.Distance;
import dev.laco.report.TrainingReport;
import dev.laco.report.TrainingStep;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/** The page of a heal: what the training gained, and how its loss fell. */
final class HealPage {
  /** The most points of the line of losses. */
  private static final int MOST_POINTS = 120;

  private HealPage() {}

  /**
   * The page.
   *
   * @param out the healed checkpoint
   */
  static PicturesPage of(
      HealReport report, Path out, PicturesPage.Made made, PicturesPage.Next next) {
    return new PicturesPage(
        Model.name(out) + ": trained to predict as the original",
        made,
        says(report),
        facts(report),
        next,
        pictures(report.training()),
        List.of(domains(report.training()), heldOut(report.training())),
        "All numbers, and every step, stand in the report (JSON) beside this page.");
  }

  private static List<String> says(HealReport report) {
    TrainingReport training = report.training();
    List<String> says = new ArrayList<>();
    says.add(
        format(
            "%s of layers %d to %d were trained on %,d tokens of %s in %,d steps, with the loss %s"
                + " and a learning rate of %.2g.",
            training.start().trained(),
            training.start().firstLayer(),
            training.start().firstLayer() + training.start().layers() - 1,
            training.start().tokens(),
            training.start().text(),
            training.start().steps(),
            training.start().loss(),
            training.start().rate()));
    HealReport.Quality quality = report.quality();
    if (quality != null) {
      double dense = quality.dense().perplexity();
      double after = quality.after().perplexity().perplexity();
      Verdict verdict = Verdict.of(dense, after);
      says.add(
          format(
              "Perplexity on %s went from %.2f to %.2f; the original has %.2f: %s. %s",
              quality.text(),
              quality.before().perplexity().perplexity(),
              after,
              dense,
              verdict.lowercase(),
              verdict.advice()));
    }
    if (training.best().step() == 0) {
      says.add(
          "No step predicted better on the held-out text than the model that was there: its weights"
              + " are the result.");
    }
    return says;
  }

  private static List<Fact> facts(HealReport report) {
    List<Fact> facts = new ArrayList<>();
    HealReport.Quality quality = report.quality();
    if (quality != null) {
      Fidelity before = quality.before();
      Fidelity after = quality.after();
      double dense = quality.dense().perplexity();
      facts.add(new Fact("perplexity of the original", format("%.2f", dense)));
      facts.add(
          new Fact(
              "perplexity",
              format(
                  "%.2f → %.2f",
                  before.perplexity().perplexity(), after.perplexity().perplexity())));
      facts.add(
          new Fact(
              "relative to the original",
              format(
                  "x%.3f → x%.3f",
                  before.perplexity().perplexity() / dense,
                  after.perplexity().perplexity() / dense)));
      facts.add(
          new Fact("kl, nats", format("%.4f → %.4f", before.divergence(), after.divergence())));
    }
    facts.add(new Fact("best step", format("%,d", report.training().best().step())));
    return facts;
  }

  /** The losses of steps, or means of as many steps each as leave a line that can be read. */
  private static Series losses(List<TrainingStep> steps) {
    int each = Math.max(1, Math.ceilDiv(steps.size(), MOST_POINTS));
    List<Double> tokens = new ArrayList<>();
    List<Double> losses = new ArrayList<>();
    for (int from = 0; from < steps.size(); from += each) {
      List<TrainingStep> together = steps.subList(from, Math.min(from + each, steps.size()));
      tokens.add((double) together.getLast().tokens());
      losses.add(together.stream().mapToDouble(TrainingStep::loss).average().orElseThrow());
    }
    return new Series(
        each == 1
            ? "loss of each step, on its own tokens"
            : format("mean loss of %,d steps each, on their own tokens", each),
        tokens,
        losses);
  }

  /** How the loss of a training fell. */
  static List<Picture> pictures(TrainingReport training) {
    List<TrainingMeasurement> heldOut = training.measurements();
    TrainingMeasurement best = training.best();
    String loss = "Loss of the training";
    String kl = "Divergence from the original on the held-out text";
    String nll = "Prediction of the held-out text";
    List<Double> tokens = heldOut.stream().map(point -> (double) point.tokens()).toList();
    return List.of(
        new Picture(
            loss,
            new LineChart(
                    loss, "tokens", "nats a token", List.of(losses(training.steps())), false, null)
                .svg(),
            "The loss is "
                + training.start().loss()
                + "; it is that of other tokens at every step."),
        new Picture(
            kl,
            new LineChart(
                    kl,
                    "tokens",
                    "kl, nats a token",
                    List.of(
                        new Series(
                            "model in training",
                            tokens,
                            heldOut.stream().map(TrainingMeasurement::divergence).toList())),
                    true,
                    new Mark(best.tokens(), best.divergence(), "result"))
                .svg(),
            "The weights with the lowest loss on the held-out text are the result."),
        new Picture(
            nll,
            new LineChart(
                    nll,
                    "tokens",
                    "nll, nats a token",
                    List.of(
                        new Series(
                            "model in training",
                            tokens,
                            heldOut.stream().map(TrainingMeasurement::nll).toList()),
                        new Series(
                            "original",
                            List.of(tokens.getFirst(), tokens.getLast()),
                            List.of(training.originalNll(), training.originalNll()))),
                    true,
                    null)
                .svg(),
            "What lies above the line of the original is lost."));
  }

  /** The kinds of held-out text, those first on which the divergence stays largest. */
  private static Table domains(TrainingReport training) {
    Map<String, Distance> before = training.measurements().getFirst().domains();
    Map<String, Distance> after = training.best().domains();
    return new Table(
        "Kinds of held-out text",
        List.of("text", "tokens", "kl before", "kl after", "nll before", "nll after"),
        after.entrySet().stream()
            .sorted(
                Comparator.comparingDouble(
                    (Map.Entry<String, Distance> domain) -> -domain.getValue().divergence()))
            .map(
                domain ->
                    row(
                        domain.getKey(),
                        Objects.requireNonNull(before.get(domain.getKey())),
                        domain.getValue()))
            .toList());
  }

  private static List<String> row(String domain, Distance before, Distance after) {
    return List.of(
        domain,
        format("%,d", after.tokens()),
        format("%.4f", before.divergence()),
        format("%.4f", after.divergence()),
        format("%.4f", before.nll()),
        format("%.4f", after.nll()));
  }

  private static Table heldOut(TrainingReport training) {
    return new Table(
        "Measurements on the held-out text",
        List.of("step", "tokens", "kl", "nll"),
        training.measurements().stream()
            .map(
                point ->
                    List.of(
                        format("%,d", point.step()),
                        format("%,d", point.tokens()),
                        format("%.4f", point.divergence()),
                        format("%.4f", point.nll())))
            .toList());
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
