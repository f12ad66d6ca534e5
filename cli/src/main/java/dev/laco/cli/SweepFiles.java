package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.chart.LineChart;
import dev.laco.cli.chart.LineChart.Mark;
import dev.laco.cli.chart.LineChart.Series;
import dev.laco.curve.CurveJson;
import dev.laco.curve.CurveResult;
import dev.laco.curve.CurveResult.Peer;
import dev.laco.curve.CurveResult.Point;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/** What a sweep leaves beside its plans: its result as JSON, as a table, and as pictures. */
record SweepFiles(
    SideFiles.SideFile json,
    SideFiles.SideFile csv,
    SideFiles.SideFile overLayers,
    SideFiles.SideFile overBytes,
    SideFiles.SideFile overSpeed,
    SideFiles.SideFile page) {
  private static final String RATIO = "perplexity / that of all layers";

  /** The page's name in the folder, where no other place is named. */
  static final String PAGE = "sweep.html";

  /**
   * Plans the files; nothing is written yet.
   *
   * @param page the page, which was planned
   */
  static SweepFiles add(SideFiles files, Path folder, SideFiles.SideFile page) throws IOException {
    return new SweepFiles(
        files.add("--out", folder.resolve("sweep.json")),
        files.add("--out", folder.resolve("sweep.csv")),
        files.add("--out", folder.resolve("layers.svg")),
        files.add("--out", folder.resolve("bytes.svg")),
        files.add("--out", folder.resolve("speed.svg")),
        page);
  }

  /**
   * Writes the files, not yet under their names.
   *
   * @param next the command that writes a model of the sweep
   * @param made how the sweep was made
   */
  void write(CurveResult result, String next, PicturesPage.Made made) {
    json.write(CurveJson.of(result).toPrettyString() + "\n");
    csv.write(csv(result));
    String layers =
        chart(
            result,
            "Quality over layers",
            "layers",
            result.dense().layers(),
            Point::layers,
            peers(result));
    String bytes =
        chart(
            result,
            "Quality over size",
            "weights, GB",
            result.dense().bytes() / 1e9,
            point -> point.bytes() / 1e9,
            List.of());
    String speed =
        chart(
            result,
            "Quality over speed",
            "times as fast as with all layers",
            1,
            Point::speedup,
            List.of());
    overLayers.write(layers);
    overBytes.write(bytes);
    overSpeed.write(speed);
    page.write(page(result, next, made, layers, bytes, speed).html());
  }

  private static PicturesPage page(
      CurveResult result,
      String next,
      PicturesPage.Made made,
      String layers,
      String bytes,
      String speed) {
    List<String> says =
        new ArrayList<>(
            List.of(
                String.format(
                    Locale.ROOT,
                    "%d sizes of a model of %d layers, each pruned from it and measured on %s.",
                    result.points().size(),
                    result.dense().layers(),
                    result.text())));
    result
        .knee()
        .ifPresent(
            knee ->
                says.add(
                    String.format(
                        Locale.ROOT,
                        "The knee is at %d layers: %.3f times the perplexity of all layers, %.2f"
                            + " times as fast. Behind it a removed layer costs more than on"
                            + " average.",
                        knee.layers(),
                        result.ratio(knee.fidelity()),
                        knee.speedup())));
    return new PicturesPage(
        Model.name(result.model()) + ": quality over size",
        made,
        says,
        List.of(),
        new PicturesPage.Next("Write the model of a size, without another search:", next),
        List.of(
            new PicturesPage.Picture(
                "Quality over layers",
                layers,
                "Perplexity relative to that of all layers; 1 is the original. Other methods' lines"
                    + " are there where they were asked for."),
            new PicturesPage.Picture(
                "Quality over size", bytes, "The same models over the bytes of their weights."),
            new PicturesPage.Picture(
                "Quality over speed",
                speed,
                "The same models over the rate at which they read a text, on the device that was"
                    + " used.")),
        List.of(new PicturesPage.Table("The numbers", SweepLines.COLUMNS, SweepLines.rows(result))),
        "The same numbers in full: sweep.json and sweep.csv, beside this page.");
  }

  private static String csv(CurveResult result) {
    StringBuilder csv =
        new StringBuilder(
            "strategy,layers,bytes,tokens_per_second,speedup,mean_nll,ratio,kl,similarity\n");
    csv.append(
        String.format(
            Locale.ROOT,
            "dense,%d,%d,,1,%.9g,1,0,1\n",
            result.dense().layers(),
            result.dense().bytes(),
            result.dense().perplexity().meanNll()));
    for (Point point : result.points()) {
      csv.append(
          String.format(
              Locale.ROOT,
              "%s,%d,%d,%.6g,%.6g,%.9g,%.9g,%.9g,%.9g\n",
              SweepLines.ownName(result),
              point.layers(),
              point.bytes(),
              point.tokensPerSecond(),
              point.speedup(),
              point.fidelity().perplexity().meanNll(),
              result.ratio(point.fidelity()),
              point.fidelity().divergence(),
              point.fidelity().similarity()));
    }
    for (Peer peer : result.peers()) {
      csv.append(
          String.format(
              Locale.ROOT,
              "%s,%d,,,,%.9g,%.9g,%.9g,%.9g\n",
              peer.strategy(),
              peer.layers(),
              peer.fidelity().perplexity().meanNll(),
              result.ratio(peer.fidelity()),
              peer.fidelity().divergence(),
              peer.fidelity().similarity()));
    }
    return csv.toString();
  }

  private static String chart(
      CurveResult result,
      String title,
      String what,
      double dense,
      ToDoubleFunction<Point> x,
      List<Series> peers) {
    List<Double> sizes = new ArrayList<>(List.of(dense));
    List<Double> ratios = new ArrayList<>(List.of(1.0));
    for (Point point : result.points()) {
      sizes.add(x.applyAsDouble(point));
      ratios.add(result.ratio(point.fidelity()));
    }
    List<Series> series =
        new ArrayList<>(List.of(new Series(SweepLines.ownName(result), sizes, ratios)));
    series.addAll(peers);
    @Nullable Mark knee =
        result
            .knee()
            .map(
                point ->
                    new Mark(
                        x.applyAsDouble(point),
                        result.ratio(point.fidelity()),
                        "knee: " + point.layers() + " layers"))
            .orElse(null);
    return new LineChart(title, what, RATIO, series, true, knee).svg();
  }

  private static List<Series> peers(CurveResult result) {
    return result.peers().stream()
        .map(Peer::strategy)
        .distinct()
        .sorted()
        .map(
            strategy -> {
              List<Peer> own =
                  result.peers().stream().filter(peer -> peer.strategy().equals(strategy)).toList();
              return new Series(
                  strategy,
                  own.stream().map(peer -> (double) peer.layers()).toList(),
                  own.stream().map(peer -> result.ratio(peer.fidelity())).toList());
            })
        .toList();
  }
}
