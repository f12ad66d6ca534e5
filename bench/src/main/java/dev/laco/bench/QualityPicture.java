package dev.laco.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.cli.chart.LineChart;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/** Draws what {@code bench/quality_for_time} has measured, a line for each series. */
public final class QualityPicture {
  private QualityPicture() {}

  /**
   * Draws a file.
   *
   * @param args the file of results, a line of JSON each, and the file of the picture (SVG)
   */
  public static void main(String[] args) throws IOException {
    if (args.length != 2) {
      System.err.println("usage: bench/picture FILE.jsonl FILE.svg");
      System.exit(2);
    }
    Files.writeString(Path.of(args[1]), svg(Files.readAllLines(Path.of(args[0]))));
  }

  static String svg(List<String> lines) throws IOException {
    // Ratios of perplexity by seconds, of each series.
    Map<String, SortedMap<Double, Double>> points = new LinkedHashMap<>();
    String about = "";
    for (String line : lines) {
      JsonNode result = new ObjectMapper().readTree(line);
      about = result.get("about").textValue();
      points
          .computeIfAbsent(result.get("series").textValue(), name -> new TreeMap<>())
          .put(result.get("processorSeconds").doubleValue(), result.get("ratio").doubleValue());
    }
    List<LineChart.Series> series = new ArrayList<>();
    points.forEach(
        (name, line) ->
            series.add(
                new LineChart.Series(
                    name, List.copyOf(line.keySet()), List.copyOf(line.values()))));
    return new LineChart(
            "Quality for time: " + about,
            "processor seconds",
            "perplexity / that of all layers",
            series,
            true,
            null)
        .svg();
  }
}
