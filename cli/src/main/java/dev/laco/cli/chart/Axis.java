package dev.laco.cli.chart;

import java.util.ArrayList;
import java.util.List;

/**
 * Values along a length: where each stands, and which are written beside it.
 *
 * @param low the value at 0
 * @param high the value at 1
 * @param log whether equal lengths are equal ratios
 */
record Axis(double low, double high, boolean log) {
  private static final int TICKS = 6;

  /** The ratio of ends from which on powers of ten and their halves and fifths are enough ticks. */
  private static final double NARROW = 10;

  /** An axis of these values; only those that are finite, and positive on a log axis, count. */
  static Axis of(double[] values, boolean log) {
    double low = Double.POSITIVE_INFINITY;
    double high = Double.NEGATIVE_INFINITY;
    for (double value : values) {
      if (Double.isFinite(value) && (!log || value > 0)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (low > high) {
      return new Axis(1, 2, log);
    }
    if (low == high) {
      return log ? new Axis(low / 2, high * 2, true) : new Axis(low - 0.5, high + 0.5, false);
    }
    return new Axis(low, high, log);
  }

  /** The same axis from 0, where it is linear and has no negative values. */
  Axis fromZero() {
    return log || low < 0 ? this : new Axis(0, high, false);
  }

  /** Where a value stands, 0 to 1; what is beyond an end stands at that end. */
  double at(double value) {
    double share =
        log
            ? (Math.log(Math.max(value, Double.MIN_NORMAL)) - Math.log(low))
                / (Math.log(high) - Math.log(low))
            : (value - low) / (high - low);
    return Math.clamp(share, 0.0, 1.0);
  }

  /** Round values along the axis. */
  List<Double> ticks() {
    return log && high / low > NARROW ? logTicks() : linearTicks(0);
  }

  /** Round values along an axis of numbers that are whole. */
  List<Double> wholeTicks() {
    return linearTicks(1);
  }

  private List<Double> linearTicks(double leastStep) {
    double step = Math.max(leastStep, Math.pow(10, Math.floor(Math.log10((high - low) / TICKS))));
    for (double factor : new double[] {2, 2.5, 2}) {
      if ((high - low) / step > TICKS) {
        step *= factor;
      }
    }
    List<Double> ticks = new ArrayList<>();
    for (double k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
      // Not -0.
      ticks.add(k * step + 0.0);
    }
    return ticks;
  }

  private List<Double> logTicks() {
    List<Double> ticks = new ArrayList<>();
    boolean few = high / low < 1e3;
    for (int power = (int) Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (double digit : few ? new double[] {1, 2, 5} : new double[] {1}) {
        double tick = digit * Math.pow(10, power);
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) {
          ticks.add(tick);
        }
      }
    }
    return ticks;
  }
}
