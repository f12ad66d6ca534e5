package dev.laco.heal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import java.util.OptionalDouble;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** How many samples of the original the time of a training is worth. */
class TeacherSamplesTest {
  private static final double TRAINED = 1e-3;
  private static final double DRAWN = 5e-4;
  private static final long TEXT = 10_000;

  private final Checkpoint checkpoint = Checkpoint.open(Fixtures.STORYTELLER);
  private final Backend device = new ReferenceBackend(Compute.AUTO);

  @AfterEach
  void close() {
    device.close();
    checkpoint.close();
  }

  private long worth(double seconds, OptionalDouble drawn) {
    return TeacherSamples.worth(device, checkpoint.config(), seconds, TEXT, TRAINED, drawn);
  }

  @Test
  void textAndSamplesAreMetFourTimes() {
    double seconds = 400;
    long samples = worth(seconds, OptionalDouble.of(DRAWN));
    assertEquals(seconds, samples * DRAWN + 4 * (TEXT + samples) * TRAINED, 1);
  }

  @Test
  void beforeOneIsDrawnItCostsWhatTrainingDoes() {
    assertEquals(worth(400, OptionalDouble.of(TRAINED)), worth(400, OptionalDouble.empty()));
  }

  @Test
  void noneIsDrawnWhereTheTextIsMetFourTimesOrLess() {
    assertEquals(0, worth(4 * TEXT * TRAINED, OptionalDouble.empty()));
    assertEquals(0, worth(1, OptionalDouble.empty()));
  }

  /** The round that was drawn is kept: 64 samples of 240 tokens behind a prompt of 16. */
  @Test
  void theFirstRoundIsTheLeast() {
    assertEquals(64 * 240, worth(400, OptionalDouble.of(1)));
  }

  @Test
  void drawingTakesAQuarterOfTheTimeAtMost() {
    double slow = 5 * TRAINED;
    assertEquals(400 / 4.0, slow * worth(400, OptionalDouble.of(slow)), 1);
  }

  @Test
  void theIdsOfSamplesHaveRoomOnTheHeap() {
    assertEquals(16_000_000, worth(1e9, OptionalDouble.of(DRAWN)));
  }
}
