package dev.laco.cli;

import java.util.List;
import java.util.stream.IntStream;

/** Numbers as a line of blocks, each as high as its number. */
final class Sparkline {
  private static final String BLOCKS = "▁▂▃▄▅▆▇█";

  /** The most blocks; of more numbers each block is the mean of some that follow each other. */
  private static final int MOST = 48;

  private Sparkline() {}

  /**
   * The line: the lowest number is the lowest block, the highest the highest.
   *
   * @param values what is not finite is a blank
   */
  static String of(List<Double> values) {
    if (values.size() > MOST) {
      int width = Math.ceilDiv(values.size(), MOST);
      return of(
          IntStream.iterate(0, start -> start < values.size(), start -> start + width)
              .mapToObj(
                  start ->
                      values.subList(start, Math.min(start + width, values.size())).stream()
                          .mapToDouble(Double::doubleValue)
                          .average()
                          .orElseThrow())
              .toList());
    }
    double low = values.stream().filter(Double::isFinite).min(Double::compare).orElse(0.0);
    double high = values.stream().filter(Double::isFinite).max(Double::compare).orElse(0.0);
    StringBuilder line = new StringBuilder();
    for (double value : values) {
      line.append(
          Double.isFinite(value)
              ? BLOCKS.charAt(
                  high > low
                      ? (int) Math.round((BLOCKS.length() - 1) * (value - low) / (high - low))
                      : 0)
              : ' ');
    }
    return line.toString();
  }
}
