package dev.laco.bench;

import java.util.ArrayList;
import java.util.List;

/**
 * What the machine can do, sampled between the iterations of a benchmark so that both meet the same
 * noise.
 */
public final class Ceiling {
  /** At each iteration; both, so that short runs are as warm as the benchmark is. */
  private static final int SAMPLES = 4;

  private static final long NANOSECONDS = 200_000_000;

  private final String name;
  private final Unit unit;
  private final double work;
  private final Runnable run;
  private final List<Double> rates = new ArrayList<>();

  /** What a rate counts, in billions a second. */
  public enum Unit {
    BYTES("GB/s", "a stream"),
    OPERATIONS("GFLOP/s", "a product");

    private final String displayName;
    private final String ceiling;

    Unit(String displayName, String ceiling) {
      this.displayName = displayName;
      this.ceiling = ceiling;
    }

    String displayName() {
      return displayName;
    }

    /** What kind of thing has such a rate. */
    String ceiling() {
      return ceiling;
    }
  }

  /**
   * A ceiling.
   *
   * @param work of one run, in {@code unit}
   */
  Ceiling(String name, Unit unit, double work, Runnable run) {
    this.name = name;
    this.unit = unit;
    this.work = work;
    this.run = run;
  }

  /** Runs a few times; the first run ever is not counted. */
  void sample() {
    if (rates.isEmpty()) {
      rate();
    }
    long start = System.nanoTime();
    for (int i = 0; i < SAMPLES || System.nanoTime() - start < NANOSECONDS; i++) {
      rates.add(rate());
    }
  }

  /** Runs once: work a nanosecond, which is billions a second. */
  double rate() {
    long start = System.nanoTime();
    run.run();
    return work / (System.nanoTime() - start);
  }

  Note.Rates rates() {
    return new Note.Rates(name, unit, List.copyOf(rates));
  }
}
