package dev.laco.measure;

import dev.laco.Seconds;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleSupplier;

/**
 * Times several things in turn, so that whatever else the machine does slows all of them down
 * alike.
 *
 * @param least timed runs of each that are made in any case
 * @param most timed runs of each that are made if there is time
 * @param enough seconds after which only those runs begin that are made in any case
 */
public record TimedRuns(int least, int most, double enough) {
  /**
   * Runs each once without counting it, and then all of them again and again.
   *
   * @param runs each runs once, and gives the seconds that it took
   * @return the seconds of the timed runs, by what ran
   */
  public double[][] of(List<DoubleSupplier> runs) {
    long start = System.nanoTime();
    double[][] seconds = new double[runs.size()][most + 1];
    int done = 0;
    while (done <= most && (done <= least || Seconds.since(start) < enough)) {
      for (int i = 0; i < seconds.length; i++) {
        seconds[i][done] = runs.get(i).getAsDouble();
      }
      done++;
    }
    int end = done;
    return Arrays.stream(seconds)
        .map(each -> Arrays.copyOfRange(each, 1, end))
        .toArray(double[][]::new);
  }
}
