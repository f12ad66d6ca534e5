package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.report.RateTrial;
import dev.laco.transformer.AdamWState;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** A range test finds the rate of a training, and takes a small part of its time. */
final class RangeTestTest {
  private static final DistillationSettings HOW =
      DistillationSettings.forModel(80_000_000, null, AdamWState.FULL);

  private static final RangeTest LONG = RangeTest.of(400L * HOW.stepTokens(), HOW);

  /** The peak of a training's rates is twice the rate that a range test finds best. */
  @Test
  void aRateBetweenThoseThatWereTriedMaySuitBest() {
    // As high on both sides of the lowest loss, or higher on the left, or as low beside it.
    assertEquals(2e-4, suitable(0.5, 0.4, 0.3, 0.4), 1e-12);
    assertEquals(2e-4 * Math.pow(3, 1.0 / 6), suitable(0.5, 0.5, 0.3, 0.4), 1e-12);
    assertEquals(2e-4 * Math.sqrt(3), suitable(0.5, 0.4, 0.3, 0.3), 1e-12);
    // Without a neighbour, or with one that is no number, it is the rate itself.
    assertEquals(6e-4, suitable(0.5, 0.4, 0.35, 0.3), 1e-12);
    assertEquals(2e-4 / 3, suitable(0.5, 0.3, 0.4), 1e-12);
    assertEquals(2e-4, suitable(0.5, 0.4, 0.3, Double.NaN), 1e-12);
    // The largest rate is the best, but too high: SmolLM2-135M at 20 of 30 layers.
    assertEquals(1e-4, suitable(1.155, 1.1523, 1.1319, 1.1273), 1e-12);
    // Where the loss never fell, it is the lowest rate of all.
    assertEquals(1e-4 / 3, suitable(0.5, 0.6, 0.7, 0.8), 1e-12);
  }

  /** The rate by the losses of a model as it is, and behind steps at 1/3, 1, 3, ... of 1e-4. */
  private static double suitable(double... losses) {
    List<RateTrial> trials = new ArrayList<>();
    for (double loss : losses) {
      double rate = trials.isEmpty() ? 0 : 1e-4 * Math.pow(3, trials.size() - 2);
      trials.add(new RateTrial(trials.isEmpty() ? 0 : 4, rate, loss));
    }
    return LONG.suitable(trials);
  }

  @Test
  void aShortTrainingHasAShortTest() {
    RangeTest brief = RangeTest.of(10L * HOW.stepTokens(), HOW);
    for (RangeTest test : List.of(brief, LONG)) {
      // One step alone does not show at which rate steps undo each other.
      assertTrue(test.steps() >= 2, test::toString);
      assertEquals(1, test.rates().getLast());
    }
    assertEquals(3L * HOW.stepTokens() / 2, brief.trained());
    assertTrue(LONG.trained() > 4 * brief.trained(), LONG::toString);
    assertTrue(LONG.measured() > 2 * brief.measured(), LONG::toString);
  }

  /** A step has one token at least, and so a test has two. */
  @Test
  void stepsOfOneTokenAreTested() {
    RangeTest test = RangeTest.of(64, HOW.withStepTokens(1));
    assertEquals(2, test.tokens());
    assertEquals(2, test.steps());
  }

  /** In a few steps a training cannot make up for what a high rate undoes. */
  @Test
  void aTrainingOfFewStepsHasALowerRate() {
    List<RateTrial> trials = List.of(new RateTrial(0, 0, 0.5), new RateTrial(2, 1e-4, 0.4));
    assertEquals(2e-4, RangeTest.of(65L * HOW.stepTokens(), HOW).suitable(trials), 1e-12);
    assertEquals(1e-4, RangeTest.of(64L * HOW.stepTokens(), HOW).suitable(trials), 1e-12);
  }
}
