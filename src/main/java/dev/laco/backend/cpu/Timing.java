package dev.laco.backend.cpu;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.List;

/** Times several ways to do the same work on this processor. */
final class Timing {
  /**
   * How many times as fast as the usual way another way must be to be taken in its place. The
   * processors that were measured are far from this margin on either side, so that two runs on one
   * machine take the same way.
   */
  private static final double MARGIN = 1.1;

  /**
   * The value of every byte of the data that is computed on, which makes small ordinary numbers in
   * bf16 and in f32.
   */
  static final byte FILL = 0x3c;

  /** How often each way is timed; the first time includes making or loading its code. */
  private static final int ROUNDS = 6;

  private Timing() {}

  /**
   * How often in a second each way does the work, at best, on the calling thread. Processor time of
   * that thread is measured, so that other programs on the machine do not count. The ways take
   * turns.
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

  /**
   * Whether a rate is so much above the rate of the usual way that the usual way is to be given up.
   */
  static boolean isClearlyFaster(double rate, double usual) {
    return rate > MARGIN * usual;
  }
}
