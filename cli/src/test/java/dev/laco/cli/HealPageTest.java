package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingMeasurement.Distance;
import dev.laco.report.TrainingReport;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;
import java.util.List;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** The pictures of a training. */
class HealPageTest {
  private static final Pattern LOSS = Pattern.compile("<title>(.*loss.*, .*: .*)</title>");

  /** A training in steps of 1,000 tokens. The loss of the first step is 1, of the second 2, ... */
  private static TrainingReport training(int steps) {
    TrainingMeasurement measurement = measured(0, 0);
    return new TrainingReport(
        new TrainingStart(
            "text", 0, 1_000L * steps, steps, 0, 1, 1, null, 1e-4, 0, null, List.of()),
        IntStream.rangeClosed(1, steps)
            .mapToObj(step -> new TrainingStep(step, steps, 1_000L * step, step, 1))
            .toList(),
        3,
        List.of(measurement, measured(steps, 1_000L * steps)),
        measurement,
        1);
  }

  private static TrainingMeasurement measured(int step, long tokens) {
    TreeMap<String, Distance> domains = new TreeMap<>();
    domains.put("books", new Distance(1_000, 990, 0.1, 3.1));
    return TrainingMeasurement.of(step, tokens, domains);
  }

  private static List<String> losses(int steps) {
    String svg = HealPage.pictures(training(steps)).getFirst().svg();
    return LOSS.matcher(svg).results().map(point -> point.group(1)).toList();
  }

  @Test
  void aShortTrainingShowsTheLossOfEachStep() {
    List<String> points = losses(120);
    assertEquals(120, points.size());
    assertEquals("loss of each step, on its own tokens, 120,000: 120", points.getLast());
  }

  @Test
  void aLongTrainingShowsMeansOfAsManyStepsAsLeave120Points() {
    List<String> points = losses(1_000);
    // Nine steps each, the last point of one.
    assertEquals(112, points.size());
    assertEquals("mean loss of 9 steps each, on their own tokens, 9000: 5", points.getFirst());
    assertEquals(
        "mean loss of 9 steps each, on their own tokens, 1,000,000: 1000", points.getLast());
  }
}
