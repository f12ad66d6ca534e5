package dev.laco.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.bench.Times;
import dev.laco.bench.gpu.Comparison.Verdict;
import dev.laco.evaluate.Interval;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** How times of two kernels that take turns become a verdict. */
class ComparisonTest {
  /** A clock that gets slower and slower: both kernels take twice as long in the end. */
  private static final List<Double> DRIFT =
      IntStream.range(0, 20).mapToObj(i -> 1e-5 * (1 + i / 20.0)).toList();

  private static List<Double> times(List<Double> of, double... factors) {
    return IntStream.range(0, of.size())
        .mapToObj(i -> of.get(i) * factors[i % factors.length])
        .toList();
  }

  @Test
  void pairsTellOfFewerPercentThanAClockDrifts() {
    Comparison faster = Comparison.of(times(DRIFT, 0.97, 0.99), "ours", DRIFT);
    assertEquals(Verdict.FASTER, faster.verdict());
    assertEquals(0.98, faster.ratio(), 1e-12);
    assertEquals(0.97, faster.interval().low(), 1e-12);
    assertEquals(0.99, faster.interval().high(), 1e-12);
    assertEquals(20, faster.pairs());
    assertEquals(Verdict.SLOWER, Comparison.of(times(DRIFT, 1.01, 1.02), "ours", DRIFT).verdict());
  }

  @Test
  void anIntervalAround1IsNoDifference() {
    assertEquals(
        Verdict.NO_DIFFERENCE, Comparison.of(times(DRIFT, 0.9, 1.1, 1.0), "ours", DRIFT).verdict());
  }

  @Test
  void fewPairsTellNothing() {
    Comparison few =
        Comparison.of(List.of(1.0, 1.0, 1.0, 1.0, 1.0), "x", List.of(9.0, 9.0, 9.0, 9.0, 9.0));
    assertEquals(Verdict.TOO_FEW, few.verdict());
    assertEquals(new Interval(1 / 9.0, 1 / 9.0), few.interval());
  }

  @Test
  void kindsOfWorkTakeTurnsForthAndBack() {
    List<String> done = new ArrayList<>();
    Turns turns = new Turns(List.of(() -> done.add("a"), () -> done.add("b"), () -> done.add("c")));
    double[] values = new double[9];
    for (int i = 0; i < values.length; i++) {
      turns.peek();
      turns.next();
      assertEquals(done.get(2 * i), done.get(2 * i + 1));
      values[i] = done.getLast().charAt(0) + i / 10.0;
    }
    assertEquals("aabbccccbbaaaabbcc", String.join("", done));
    assertEquals(
        List.of(List.of(97.0, 97.5, 97.6), List.of(98.1, 98.4, 98.7), List.of(99.2, 99.3, 99.8)),
        turns.apart(values));
  }

  @Test
  void timesAreSummedUpByQuantiles() {
    List<Double> seconds =
        new ArrayList<>(IntStream.rangeClosed(1, 20).mapToObj(i -> (double) i).toList());
    Collections.reverse(seconds);
    Times times = Times.of(seconds);
    assertEquals(1, times.best());
    assertEquals(3, times.p10());
    assertEquals(11, times.median());
    assertEquals(19, times.p90());
    assertEquals(20, times.n());
    assertEquals(seconds, times.samples());
  }
}
