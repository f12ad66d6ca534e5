package dev.laco.bench.gpu;

import java.util.Optional;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Looks at a card before and after a measurement, and has what heat or power spoilt repeated. */
final class Watch {
  /** Repetitions of a measurement at most. */
  private static final int REPEATS = 2;

  /** Of a card that nobody looks at. */
  static final Watch NONE = new Watch(null, () -> {});

  private final @Nullable CardSensors sensors;
  private final Runnable pause;

  /**
   * @param sensors null where there are none
   * @param pause lets the card cool down before a repetition
   */
  Watch(@Nullable CardSensors sensors, Runnable pause) {
    this.sensors = sensors;
    this.pause = pause;
  }

  /**
   * A measurement that was watched.
   *
   * @param <T> what was measured
   * @param card how the card was; empty where there are no sensors
   */
  record Watched<T>(T measured, Optional<Card> card) {}

  /**
   * How the card was during a measurement.
   *
   * @param repeats how often the measurement was repeated before this one
   */
  record Card(CardState before, CardState after, int repeats) {
    private boolean isSpoilt() {
      return before.isSlowedDown() || after.isSlowedDown();
    }

    /** {@code 1980 MHz, 312 W, 45 C}, after the measurement. */
    @Override
    public String toString() {
      String text = after.toString();
      if (repeats > 0) {
        text += ", repeated " + repeats + " x";
      }
      return isSpoilt() ? text + ", STILL SLOWED DOWN" : text;
    }
  }

  /** Measures, and again where the card slowed down. */
  <T> Watched<T> measure(Supplier<T> measurement) {
    if (sensors == null) {
      return new Watched<>(measurement.get(), Optional.empty());
    }
    for (int repeats = 0; ; repeats++) {
      CardState before = sensors.read();
      T measured = measurement.get();
      Card card = new Card(before, sensors.read(), repeats);
      if (!card.isSpoilt() || repeats == REPEATS) {
        return new Watched<>(measured, Optional.of(card));
      }
      pause.run();
    }
  }
}
