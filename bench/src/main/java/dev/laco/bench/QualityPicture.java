package dev.laco.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.cli.chart.LineChart;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

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
    Map<String, List<JsonNode>> results = new LinkedHashMap<>();
    String about = "";
    for (String line : lines) {
      JsonNode result = new ObjectMapper().readTree(line);
      about = result.get("about").textValue();
      results
          .computeIfAbsent(result.get("series").textValue(), name -> new ArrayList<>())
          .add(result);
    }
    List<LineChart.Series> series = new ArrayList<>();
    results.forEach(
        (name, points) -> {
          points.sort(Comparator.comparing(point -> value(point, "processorSeconds")));
          series.add(
              new LineChart.Series(
                  name,
                  points.stream().map(point -> value(point, "processorSeconds")).toList(),
                  points.stream().map(point -> value(point, "ratio")).toList()));
        });
    return new LineChart(
            "Quality for time: " + about,
            "processor seconds",
            "perplexity / that of all layers",
            series,
            true,
            null)
        .svg();
  }

  private static Double value(JsonNode result, String key) {
    return result.get(key).doubleValue();
  }
}
