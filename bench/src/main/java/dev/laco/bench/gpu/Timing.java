package dev.laco.bench.gpu;

import dev.laco.backend.cuda.GraphReplay;
import dev.laco.bench.Times;
import java.util.List;
import java.util.function.Consumer;

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
   * @param quick whether as few times as possible are enough
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

  /** Each repetition, every one after the caches were flushed. */
  Times ofMemory(Runnable work) {
    return ofMemory(List.of(work), () -> {}).getFirst();
  }

  /**
   * Several kinds of work in turns, every repetition after the caches were flushed.
   *
   * @param before done in front of that, not measured
   */
  List<Times> ofMemory(List<Runnable> works, Runnable before) {
    return measure(
        works,
        1,
        turns -> {
          before.run();
          device.flush();
        });
  }

  /**
   * Several kinds of work in turns, all data being in the cache if it fits. Such work may be
   * shorter than a launch takes the host: some runs of it are replayed as a graph.
   */
  List<Times> ofCache(List<Runnable> works) {
    int runs = quick ? 1 : CACHED_RUNS;
    List<GraphReplay> graphs =
        works.stream().map(work -> device.capture(repeated(work, runs))).toList();
    try {
      return measure(List.copyOf(graphs), runs, Turns::peek);
    } finally {
      graphs.forEach(GraphReplay::close);
    }
  }

  private static Runnable repeated(Runnable work, int runs) {
    return () -> {
      for (int i = 0; i < runs; i++) {
        work.run();
      }
    };
  }

  /**
   * @param runs of the work that are measured as one
   * @param before done before each turn, not measured
   */
  private List<Times> measure(List<Runnable> works, int runs, Consumer<Turns> before) {
    int rounds = works.size() == 1 ? 1 : Comparison.FEWEST;
    if (!quick) {
      rounds(works, 1, before);
      double once = rounds(works, 1, before).stream().mapToDouble(List::getFirst).sum();
      rounds(works, times(WARM_UP_SECONDS, once), before);
      rounds = times(SECONDS * works.size(), once);
    }
    return rounds(works, rounds, before).stream()
        .map(seconds -> Times.of(seconds.stream().map(s -> s / runs).toList()))
        .toList();
  }

  /** Seconds of each kind of work, one for each round. */
  private List<List<Double>> rounds(List<Runnable> works, int rounds, Consumer<Turns> before) {
    Turns turns = new Turns(works);
    return turns.apart(
        device.seconds(rounds * turns.count(), () -> before.accept(turns), turns::next));
  }

  private static int times(double seconds, double once) {
    return (int) Math.clamp(seconds / once, FEWEST, MOST);
  }
}
