package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** Ways to do the same work are timed until their best times are no accident. */
class TimingTest {
  private final AtomicLong clock = new AtomicLong();
  private final AtomicInteger rounds = new AtomicInteger();

  /** Work that takes so many milliseconds, one number for each round; the last one from then on. */
  private Runnable work(long... milliseconds) {
    AtomicInteger next = new AtomicInteger();
    return () -> {
      int round = next.getAndIncrement();
      rounds.accumulateAndGet(round + 1, Math::max);
      clock.addAndGet(1_000_000L * milliseconds[Math.min(round, milliseconds.length - 1)]);
    };
  }

  private double[] rates(Runnable... ways) {
    return Timing.rates(List.of(ways), clock::get);
  }

  @Test
  void theBestOfSixRoundsIsTheRateOnAnIdleMachine() {
    assertArrayEquals(new double[] {500, 250}, rates(work(90, 2), work(40, 4)));
    assertEquals(6, rounds.get());
  }

  /** The second way is held up until its eighth round, and would seem to be the slower one. */
  @Test
  void aWayThatIsHeldUpIsTimedFurther() {
    double[] rates = rates(work(90, 4), work(90, 13, 12, 11, 9, 8, 6, 2));
    assertArrayEquals(new double[] {250, 500}, rates);
    assertEquals(9, rounds.get());
  }

  @Test
  void theRoundsEndWhereNoTimeComesTwice() {
    long[] falling = LongStream.iterate(1L << 39, last -> last / 2).limit(40).toArray();
    rates(work(90, 2), work(falling));
    assertEquals(Timing.MOST_ROUNDS, rounds.get());
  }
}
