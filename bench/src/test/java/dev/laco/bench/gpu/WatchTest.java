package dev.laco.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.bench.gpu.CardState.Reason;
import dev.laco.bench.gpu.Watch.Watched;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import org.junit.jupiter.api.Test;

/** When a measurement is repeated. */
class WatchTest {
  private static final long IDLE = 0x1;
  private static final long POWER_CAP = 0x4;
  private static final long HOT = 0x40;

  private final List<String> done = new ArrayList<>();

  /** Measures on a card that gives these reasons, one after the other. */
  private Watched<Integer> watch(long... reasons) {
    Iterator<Long> left = Arrays.stream(reasons).iterator();
    CardSensors sensors = () -> new CardState(1980, 2619, 312.4, 45, Reason.of(left.next()));
    return new Watch(sensors, () -> done.add("pause"))
        .measure(
            () -> {
              done.add("measure");
              return done.size();
            });
  }

  @Test
  void aCardAtItsPowerCapIsWellEnough() {
    Watch.Card card = watch(IDLE, POWER_CAP).card().orElseThrow();
    assertEquals(List.of("measure"), done);
    assertEquals(0, card.repeats());
    assertEquals(List.of(), card.before().throttled());
    assertEquals("1980 MHz, 312 W, 45 C, power cap", card.toString());
  }

  @Test
  void whatHeatSpoiltIsRepeatedAfterAPause() {
    Watched<Integer> watched = watch(0, HOT, HOT, 0, 0, 0);
    assertEquals(List.of("measure", "pause", "measure", "pause", "measure"), done);
    assertEquals(5, watched.measured());
    assertEquals("1980 MHz, 312 W, 45 C, repeated 2 x", watched.card().orElseThrow().toString());
  }

  @Test
  void aCardThatStaysHotIsSaidToBe() {
    Watched<Integer> watched = watch(HOT, HOT, HOT, HOT, HOT, HOT);
    assertEquals(5, done.size());
    String text = watched.card().orElseThrow().toString();
    assertTrue(text.endsWith("thermal slowdown, repeated 2 x, STILL SLOWED DOWN"), text);
  }

  @Test
  void withoutSensorsNothingIsSaidOfTheCard() {
    assertTrue(new Watch(null, () -> {}).measure(() -> 1).card().isEmpty());
  }

  @Test
  void whatACardDoesNotTellIsLeftOut() {
    CardState silent = new CardState(null, null, null, 45, null);
    assertEquals("45 C", silent.toString());
  }
}
