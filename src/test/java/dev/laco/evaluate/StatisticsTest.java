package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.UsageException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Statistics of paired results, beside what SciPy says. */
final class StatisticsTest {
  private static final Path RECORDED = Path.of("src/test/resources/harness/statistics.json");

  /** Share of a width that 2,000 samples of a bootstrap may be off. */
  private static final double BOOTSTRAP = 0.1;

  private final JsonNode recorded;

  StatisticsTest() throws IOException {
    recorded = new ObjectMapper().readTree(RECORDED.toFile());
  }

  @Test
  void pValuesAreThoseOfTheBinomialTest() {
    for (JsonNode one : recorded.get("mcNemar")) {
      double p = one.get("p").doubleValue();
      McNemar flips = new McNemar(one.get("lost").longValue(), one.get("won").longValue());
      assertEquals(p, flips.pValue(), 1e-7 * p, flips::toString);
    }
  }

  @Test
  void intervalsOfSharesAreThoseOfWilsonAlsoWhereAllItemsAreRightOrWrong() {
    for (JsonNode one : recorded.get("shares")) {
      double[] items = new double[one.get("items").intValue()];
      Arrays.fill(items, 0, one.get("right").intValue(), 1);
      Interval found = new Metric(Metric.ACCURACY, items).interval();
      assertEquals(one.get("low").doubleValue(), found.low(), 1e-12, one::toString);
      assertEquals(one.get("high").doubleValue(), found.high(), 1e-12, one::toString);
    }
    Interval rate = new Metric(Metric.REPETITION, new double[] {1, 1, 0.5}).interval();
    assertEquals(1, rate.high());
    assertEquals(5.0 / 6 - 1.96 / 6, rate.low(), 1e-4);
  }

  @Test
  void intervalsOfPerplexitiesAreThoseOfAPairedBootstrap() {
    JsonNode of = recorded.get("perplexity");
    TaskResult dense = result(0, Metric.PERPLEXITY, values(of.get("dense")));
    TaskResult pruned = result(0, Metric.PERPLEXITY, values(of.get("pruned")));
    PairedComparison found = PairedComparison.of(dense, pruned, Metric.PERPLEXITY);
    double low = of.get("low").doubleValue();
    double high = of.get("high").doubleValue();
    assertEquals(low, found.interval().low(), BOOTSTRAP * (high - low));
    assertEquals(high, found.interval().high(), BOOTSTRAP * (high - low));
    assertNull(found.flips());
    double error = of.get("standardError").doubleValue();
    assertEquals(
        error, dense.metric(Metric.PERPLEXITY).standardError(), BOOTSTRAP * error, "error");
    assertEquals(found, PairedComparison.of(dense, pruned, Metric.PERPLEXITY), "no fixed seed");
  }

  private static double[] values(JsonNode list) {
    return IntStream.range(0, list.size()).mapToDouble(i -> list.get(i).doubleValue()).toArray();
  }

  /**
   * 540 items of which 81 flip, 48 lost and 33 won: 2.8 points, which an unpaired test calls
   * chance.
   */
  @Test
  void flipsOfBothWaysAreCounted() {
    double[] before = new double[540];
    double[] after = new double[540];
    for (int i = 0; i < before.length; i++) {
      before[i] = i < 300 ? 1 : 0;
      after[i] = i < 48 || i >= 333 ? 0 : 1;
    }
    PairedComparison found =
        PairedComparison.of(
            result(0.25, Metric.ACCURACY, before),
            result(0.25, Metric.ACCURACY, after),
            Metric.ACCURACY);
    assertEquals(new McNemar(48, 33), found.flips());
    assertEquals(300.0 / 540, found.dense());
    assertEquals(285.0 / 540, found.pruned());
    assertEquals(0.95, found.kept(), 1e-12);
    assertEquals((285 - 135) / (300.0 - 135), found.keptBeyondChance(), 1e-12);
    // 49 / 542 and 34 / 542: -0.0277 +- 1.96 sqrt((83 / 542 - 0.0277^2) / 542)
    assertEquals(-0.06053, found.interval().low(), 1e-5);
    assertEquals(0.00518, found.interval().high(), 1e-5);
  }

  @Test
  void whatIsNoBetterThanGuessingHasNothingToKeep() {
    TaskResult guessing = result(0.5, Metric.ACCURACY, 1, 0, 1, 0);
    PairedComparison found = PairedComparison.of(guessing, guessing, Metric.ACCURACY);
    assertEquals(Double.NaN, found.keptBeyondChance());
    assertEquals(1, found.kept());
    assertEquals(new Interval(-0.4620, 0.4620).high(), found.interval().high(), 1e-4);
  }

  @Test
  void groupsHaveTheMeanOfRatiosAndTheRatioOfMeans() {
    TaskResults dense = results(new double[] {1, 1, 1, 1}, new double[] {1, 0, 0, 0});
    TaskResults pruned = results(new double[] {1, 1, 1, 0}, new double[] {1, 1, 0, 0});
    Task.Group group = new Task.Group("both", List.of("piqa", "copa"), false);
    TaskComparison.OfGroup found =
        TaskComparison.of(dense, pruned, List.of(group)).groups().getFirst();
    assertEquals((0.75 + 0.5) / (1 + 0.25), found.ratioOfMeans());
    assertEquals((0.75 + 2) / 2, found.meanOfRatios());
    assertEquals((0.625 - 0.5) / (0.625 - 0.5), found.keptBeyondChance());
  }

  private static TaskResults results(double[] piqa, double[] copa) {
    return new TaskResults(
        Path.of("model"),
        List.of(
            result("piqa", 0.5, Metric.ACCURACY, piqa),
            result("copa", 0.5, Metric.ACCURACY, copa)));
  }

  @Test
  void resultsOnOtherItemsAreNotCompared() {
    TaskResult three = result(0, Metric.ACCURACY, 1, 0, 1);
    TaskResult two = result(0, Metric.ACCURACY, 1, 0);
    assertThrows(UsageException.class, () -> PairedComparison.of(three, two, Metric.ACCURACY));
    assertEquals(Double.NaN, result(0, Metric.ACCURACY, 1).metric(Metric.ACCURACY).standardError());
  }

  /** The binomial distribution of the number of values below the median. */
  @Test
  void theIntervalOfAMedianLiesBetweenMeasuredValues() {
    double[] values = new double[20];
    Arrays.setAll(values, i -> i + 1);
    // 6 values: 1 - 2/64 = 96.9 %. 9: 1 - 20/512 = 96.1 %. 20: 95.9 %, 6th to 15th.
    assertEquals(new Interval(1, 6), Interval.ofMedian(Arrays.copyOf(values, 6)));
    assertEquals(new Interval(1, 8), Interval.ofMedian(Arrays.copyOf(values, 8)));
    assertEquals(new Interval(2, 8), Interval.ofMedian(Arrays.copyOf(values, 9)));
    assertEquals(new Interval(6, 15), Interval.ofMedian(values));
  }

  private static TaskResult result(double chance, String metric, double... items) {
    return result("piqa", chance, metric, items);
  }

  private static TaskResult result(String task, double chance, String metric, double... items) {
    return new TaskResult(
        Task.named(List.of(task)).getFirst(),
        "items.jsonl",
        0,
        items.length,
        false,
        chance,
        List.of(new Metric(metric, items)));
  }
}
