package dev.laco.backend.cpu;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.IntStream;

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

  /** How often each way is timed at least; the first time includes making or loading its code. */
  private static final int ROUNDS = 6;

  /** How often each way is timed at most. */
  static final int MOST_ROUNDS = 30;

  /** How close the two best times of a way must be for the best one to be believed. */
  private static final double AGREEMENT = 1.05;

  private Timing() {}

  /**
   * How often in a second each way does the work, at best, on the calling thread alone, for which
   * OpenMP keeps the number of threads that it has. Processor time of that thread is measured, so
   * that other programs on the machine do not count. The ways take turns, until every way has been
   * as fast twice.
   *
   * @param kernels of any tier
   */
  static double[] rates(CpuKernels kernels, List<Runnable> ways) {
    ThreadMXBean clock = ManagementFactory.getThreadMXBean();
    int threadsBefore = kernels.threads();
    kernels.setThreads(1);
    try {
      return rates(ways, clock::getCurrentThreadCpuTime);
    } finally {
      kernels.setThreads(threadsBefore);
    }
  }

  /** The same by a clock of nanoseconds. */
  static double[] rates(List<Runnable> ways, LongSupplier clock) {
    double[] rates = new double[ways.size()];
    double[] second = new double[rates.length];
    for (int round = 0; round < MOST_ROUNDS; round++) {
      if (round >= ROUNDS && agree(rates, second)) {
        break;
      }
      for (int way = 0; way < rates.length; way++) {
        long start = clock.getAsLong();
        ways.get(way).run();
        double rate = 1e9 / (clock.getAsLong() - start);
        second[way] = Math.max(second[way], Math.min(rates[way], rate));
        rates[way] = Math.max(rates[way], rate);
      }
    }
    return rates;
  }

  private static boolean agree(double[] best, double[] second) {
    return IntStream.range(0, best.length).allMatch(way -> best[way] <= AGREEMENT * second[way]);
  }

  /**
   * Whether a rate is so much above the rate of the usual way that the usual way is to be given up.
   */
  static boolean isClearlyFaster(double rate, double usual) {
    return rate > MARGIN * usual;
  }
}
