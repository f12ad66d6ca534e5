package dev.laco.bench.gpu;

import java.util.Arrays;
import java.util.List;

/** Times work on a device: warmed up, from memory rather than from the cache, many times. */
final class Timing {
  private static final double WARM_UP_SECONDS = 0.1;
  private static final double SECONDS = 0.4;
  private static final int FEWEST = 11;
  private static final int MOST = 300;

  /** Runs between two events where the data stays in the cache, since such work is short. */
  private static final int CACHED_RUNS = 10;

  private final BenchDevice device;
  private final boolean quick;

  /**
   * @param quick whether one time is enough
   */
  Timing(BenchDevice device, boolean quick) {
    this.device = device;
    this.quick = quick;
  }

  BenchDevice device() {
    return device;
  }

  boolean isQuick() {
    return quick;
  }

  /** Seconds of each repetition, every one after the caches were flushed. */
  List<Double> ofMemory(Runnable work) {
    return measure(device::flush, work);
  }

  /** Seconds of each repetition, all data being in the cache if it fits. */
  List<Double> ofCache(Runnable work) {
    int runs = quick ? 1 : CACHED_RUNS;
    Runnable all =
        () -> {
          for (int i = 0; i < runs; i++) {
            work.run();
          }
        };
    return measure(work, all).stream().map(seconds -> seconds / runs).toList();
  }

  private List<Double> measure(Runnable before, Runnable work) {
    if (quick) {
      return list(device.seconds(1, before, work));
    }
    device.seconds(1, before, work);
    double once = device.seconds(1, before, work)[0];
    device.seconds(times(WARM_UP_SECONDS, once), before, work);
    return list(device.seconds(times(SECONDS, once), before, work));
  }

  private static int times(double seconds, double once) {
    return (int) Math.clamp(seconds / once, FEWEST, MOST);
  }

  private static List<Double> list(double[] seconds) {
    return Arrays.stream(seconds).boxed().toList();
  }

  /** The middle of some times. */
  static double median(List<Double> seconds) {
    return seconds.stream().sorted().toList().get(seconds.size() / 2);
  }
}
