package dev.laco.backend.cpu;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.List;

/** Compares ways to do the same work on this processor. */
final class Timing {
  /**
   * So much quicker must a way be to be taken in place of the usual one. Processors are far from it
   * on either side, so that two runs on a machine take the same.
   */
  private static final double MARGIN = 1.1;

  /** What every byte of the data of the work is: small ordinary numbers in bf16 and in f32. */
  static final byte FILL = 0x3c;

  /** The first makes or loads the code of a way. */
  private static final int ROUNDS = 6;

  private Timing() {}

  /**
   * How often a second each way does the work, on the calling thread and by the time of the
   * processor that is spent on it, so that what else runs on the machine does not count. The ways
   * take turns.
   */
  static double[] rates(List<Runnable> ways) {
    ThreadMXBean clock = ManagementFactory.getThreadMXBean();
    double[] rates = new double[ways.size()];
    for (int round = 0; round < ROUNDS; round++) {
      for (int way = 0; way < rates.length; way++) {
        long start = clock.getCurrentThreadCpuTime();
        ways.get(way).run();
        long nanos = clock.getCurrentThreadCpuTime() - start;
        rates[way] = Math.max(rates[way], 1e9 / nanos);
      }
    }
    return rates;
  }

  /** Whether a rate is so much above that of the usual way that its way is to be taken. */
  static boolean isClearlyFaster(double rate, double usual) {
    return rate > MARGIN * usual;
  }
}
