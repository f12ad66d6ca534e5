package dev.laco.cli.chart;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/** Charts as XML that a browser reads. */
class ChartTest {
  private static Document parse(String svg) throws Exception {
    return DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new ByteArrayInputStream(svg.getBytes(UTF_8)));
  }

  private static List<Element> named(Document picture, String name) {
    return IntStream.range(0, picture.getElementsByTagName(name).getLength())
        .mapToObj(i -> (Element) picture.getElementsByTagName(name).item(i))
        .toList();
  }

  private static List<String> texts(Document picture) {
    return named(picture, "text").stream().map(Element::getTextContent).toList();
  }

  @Test
  void aHeatMapHasACellForEachNumberAndOneWithoutColourForNone() throws Exception {
    Document picture =
        parse(
            new HeatMap(
                    "Layers & <states>",
                    "rows",
                    1,
                    "columns",
                    "nats",
                    List.of(List.of(0.01, Double.NaN), List.of(-1.0, 10.0)),
                    true)
                .svg());
    List<String> cells =
        named(picture, "rect").stream()
            .filter(cell -> cell.hasChildNodes())
            .map(cell -> cell.getTextContent() + " " + cell.getAttribute("fill"))
            .toList();
    // A value that has no logarithm has the colour of the lowest.
    assertEquals(
        List.of("0, 1: 0.01 #00224e", "1, 1: - ", "0, 2: -1 #00224e", "1, 2: 10 #fee838"), cells);
    assertEquals("Layers & <states>", named(picture, "title").getFirst().getTextContent());
    assertTrue(
        named(picture, "desc").getFirst().getTextContent().contains("3 values"),
        named(picture, "desc").getFirst().getTextContent());
    assertTrue(texts(picture).containsAll(List.of("0.01", "0.1", "1", "10", "nats", "rows")));
  }

  @Test
  void aLineLeavesOutWhatIsNoNumberAndStandsBetweenItsAxes() throws Exception {
    Document picture =
        parse(
            new LineChart(
                    "Lines",
                    "layers",
                    "nats",
                    List.of(
                        new LineChart.Series(
                            "a", List.of(0.0, 1.0, 2.0, 4.0), List.of(5.0, Double.NaN, 2.5, 0.0)),
                        new LineChart.Series("b", List.of(2.0), List.of(1.0))),
                    false,
                    new LineChart.Mark(2, 2.5, "knee"))
                .svg());
    List<Element> lines =
        named(picture, "path").stream()
            .filter(path -> path.getAttribute("class").equals("line"))
            .toList();
    assertEquals("M76.0 44.0L356.0 194.0L636.0 344.0", lines.getFirst().getAttribute("d"));
    assertFalse(lines.get(0).getAttribute("stroke").equals(lines.get(1).getAttribute("stroke")));
    List<String> texts = texts(picture);
    assertTrue(
        texts.containsAll(
            List.of("Lines", "layers", "nats", "a", "b", "knee", "0", "1", "2", "3", "4", "5")),
        texts.toString());
  }

  @Test
  void intervalsStandBesideTheirLineAndTellTheirValue() throws Exception {
    Document picture =
        parse(
            new IntervalChart(
                    "Change",
                    "points",
                    List.of(
                        new IntervalChart.Row("a <b>", -10, -20, 0, 20),
                        new IntervalChart.Row("none", Double.NaN)),
                    false,
                    0,
                    "chance")
                .svg());
    List<Element> points = named(picture, "circle");
    assertEquals(1, points.size());
    assertEquals("330.0", points.getFirst().getAttribute("cx"));
    assertEquals("a <b>: -10", points.getFirst().getTextContent());
    List<String> texts = texts(picture);
    assertTrue(
        texts.containsAll(List.of("Change", "points", "a <b>", "none", "chance", "-20", "20")),
        texts.toString());
  }

  @Test
  void stepsTakePiecesOffTheWhole() throws Exception {
    Document picture =
        parse(
            new Waterfall(
                    "Fit",
                    "error",
                    List.of(
                        new Waterfall.Row(
                            "layer 3",
                            List.of(
                                new Waterfall.Step("output", 0.5),
                                new Waterfall.Step("down", 0.25)))))
                .svg());
    List<String> bars =
        named(picture, "rect").stream()
            .map(bar -> bar.getTextContent() + ", " + bar.getAttribute("width"))
            .toList();
    assertEquals(
        List.of(
            "layer 3, output: 1 → 0.5, 260.0",
            "layer 3, down: 0.5 → 0.25, 130.0",
            "layer 3: 0.25, 130.0",
            "left, 14.0",
            "output, 14.0",
            "down, 14.0"),
        bars);
  }

  @Test
  void barsToBothSidesHaveOneScale() throws Exception {
    Document picture =
        parse(
            new TwoSidedBars(
                    "Flips",
                    "lost",
                    "won",
                    List.of(new TwoSidedBars.Row("a", 10, 5), new TwoSidedBars.Row("b", 0, 2)))
                .svg());
    List<String> bars =
        named(picture, "rect").stream()
            .map(bar -> bar.getTextContent() + ": " + bar.getAttribute("width"))
            .toList();
    assertEquals(List.of("a: 10: 190.0", "a: 5: 95.0", "b: 0: 0.0", "b: 2: 38.0"), bars);
    parse(new TwoSidedBars("t", "l", "r", List.of(new TwoSidedBars.Row("a", 0, 0))).svg());
  }

  @Test
  void axesHaveRoundNumbers() {
    assertEquals("1 1.2 1.4 1.6", ticks(new Axis(1, 1.606, true)));
    assertEquals("0.05 0.1 0.2 0.5 1 2", ticks(new Axis(0.04, 3, true)));
    assertEquals("0.01 0.1 1 10", ticks(new Axis(0.01, 11, true)));
    assertEquals("-5 0 5 10", ticks(new Axis(-7, 11, false)));
    assertEquals("0.048 0.0482 0.0484 0.0486 0.0488 0.049", ticks(new Axis(0.0479, 0.0491, true)));
    assertEquals("0 500,000 1,000,000 1,500,000", ticks(new Axis(0, 1_600_000, false)));
  }

  private static String ticks(Axis axis) {
    return axis.ticks().stream().map(Picture::number).collect(Collectors.joining(" "));
  }

  @Test
  void aChartOfNothingIsAChart() throws Exception {
    parse(new HeatMap("t", "r", 0, "c", "u", List.of(List.of(Double.NaN)), true).svg());
    parse(
        new LineChart(
                "t", "x", "y", List.of(new LineChart.Series("a", List.of(), List.of())), true, null)
            .svg());
  }

  @Test
  void aRooflineHasAPointForEachSizeOfAKernel() throws Exception {
    Document picture =
        parse(
            new Roofline(
                    "Kernels on <a card>",
                    3000,
                    List.of(new Roofline.Peak("bf16 product", 700_000)),
                    List.of(
                        new Roofline.Product("attention", "8 x 2048 tokens", 500, 300_000),
                        new Roofline.Product("attention", "87 tokens", 10, 20_000)),
                    List.of(
                        new Roofline.Move("norm", "a model", "8 x 2048 tokens", 0.9),
                        new Roofline.Move("norm", "a model", "87 tokens", 0.5)))
                .svg());
    List<String> points =
        named(picture, "path").stream()
            .filter(Element::hasChildNodes)
            .map(Element::getTextContent)
            .toList();
    assertEquals(
        List.of(
            "attention, 8 x 2048 tokens: 300,000 GFLOP/s",
            "attention, 87 tokens: 20,000 GFLOP/s",
            "attention",
            "a model",
            "norm, a model, 8 x 2048 tokens: 90.0 %",
            "norm, a model, 87 tokens: 50.0 %"),
        points);
    assertTrue(
        texts(picture)
            .containsAll(
                List.of(
                    "slope: 3000 GB/s",
                    "level: bf16 product, 700,000 GFLOP/s",
                    "Kernels on <a card>")),
        texts(picture).toString());
  }

  /** A card whose results are of one kind has the part of that kind alone. */
  @Test
  void aRooflineWithoutProductsHasNoSlope() throws Exception {
    Document picture =
        parse(
            new Roofline(
                    "Kernels",
                    3000,
                    List.of(),
                    List.of(),
                    List.of(new Roofline.Move("norm", "a model", "87 tokens", 0.5)))
                .svg());
    assertFalse(texts(picture).contains("GFLOP/s"));
    assertTrue(texts(picture).contains("% of a stream with its reads and writes"));
  }
}
