package dev.laco.bench.gpu;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.cli.chart.Roofline;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Draws the results that a file has of the card that its last line is of. Of several results of the
 * same case the last counts.
 */
final class ResultPicture {
  private final Path file;
  private final Map<String, JsonNode> cases = new LinkedHashMap<>();
  private final Map<String, JsonNode> ceilings = new LinkedHashMap<>();
  private String card = "";
  private String commit = "";

  /**
   * Reads a file of results.
   *
   * @throws BadInputException if a line is no result, or there is nothing to draw
   */
  ResultPicture(Path file) {
    this.file = file;
    for (JsonNode line : lines(file)) {
      String of = line.path("card").asText();
      if (!of.equals(card)) {
        cases.clear();
        ceilings.clear();
        card = of;
      }
      commit = line.path("commit").asText();
      if (line.path("op").asText().equals("ceiling")) {
        ceilings.put(line.path("of").asText(), line);
      } else if (line.has("kernel")) {
        cases.put(line.get("kernel") + ", " + line.get("model") + ", " + line.get("sizes"), line);
      }
    }
    if (cases.isEmpty() || ceilings.isEmpty()) {
      throw new BadInputException(file + " has no kernels with ceilings: expected results of --op");
    }
  }

  private static List<JsonNode> lines(Path file) {
    List<JsonNode> lines = new ArrayList<>();
    ObjectMapper mapper = new ObjectMapper();
    try {
      for (String line : Files.readAllLines(file)) {
        lines.add(mapper.readTree(line));
      }
    } catch (JsonProcessingException e) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s, line %d: expected a result as JSON: %s",
              file,
              lines.size() + 1,
              e.getOriginalMessage()));
    } catch (IOException e) {
      throw new BadInputException("cannot read " + file + ": " + e.getMessage());
    }
    return lines;
  }

  /** Writes the picture as SVG. */
  void write(Path to) {
    try {
      Files.writeString(to, roofline().svg());
    } catch (IOException e) {
      throw new ResourceException("cannot write " + to + ": " + e.getMessage());
    }
  }

  private Roofline roofline() {
    List<Roofline.Product> products = new ArrayList<>();
    List<Roofline.Move> moves = new ArrayList<>();
    for (JsonNode line : cases.values()) {
      String kernel = line.path("kernel").asText();
      String model = line.path("model").asText();
      String sizes = line.path("sizes").asText();
      double operations = line.path("operations").asDouble();
      double bytes = line.path("bytes").asDouble();
      if (operations > 0) {
        products.add(
            new Roofline.Product(
                kernel, model + ", " + sizes, operations / bytes, rate(line, "operations")));
      } else {
        double share = line.path("ceilings").path(0).path("shareOfMedian").asDouble();
        moves.add(new Roofline.Move(kernel, model, sizes, share));
      }
    }
    return new Roofline(
        String.format(Locale.ROOT, "Kernels on %s, commit %s", card, commit),
        bandwidth(),
        peaks(),
        products,
        moves);
  }

  /** Of the quickest stream, in GB/s. */
  private double bandwidth() {
    return ceilings.values().stream()
        .mapToDouble(line -> rate(line, "bytes"))
        .max()
        .orElseThrow(() -> new BadInputException(file + " has no ceilings"));
  }

  private List<Roofline.Peak> peaks() {
    return ceilings.entrySet().stream()
        .filter(ceiling -> ceiling.getValue().path("operations").asDouble() > 0)
        .map(ceiling -> new Roofline.Peak(ceiling.getKey(), rate(ceiling.getValue(), "operations")))
        .toList();
  }

  /** Billions a second, of the median. */
  private static double rate(JsonNode line, String what) {
    return line.path(what).asDouble() / line.path("median").asDouble() / 1e9;
  }
}
