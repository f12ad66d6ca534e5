package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A short training has small steps, and takes little time to measure. */
class DistillationSettingsTest {
  private static final DistillationSettings HOW =
      DistillationSettings.forModel(80_000_000, null, AdamWState.FULL);

  /** 64 chunks, all of them held out, too. */
  private static final DistillationText TEXT = text();

  private static DistillationText text() {
    List<FitText.Chunk> chunks =
        IntStream.range(0, 64).mapToObj(i -> new FitText.Chunk(new int[64], i, "a text")).toList();
    return new DistillationText(chunks, chunks);
  }

  @Test
  void aShortTrainingHasSmallSteps() {
    int step = HOW.stepTokens();
    assertEquals(step / 2, HOW.stepTokens(64L * step));
    assertEquals(step, HOW.stepTokens(65L * step));
    assertEquals(8, TEXT.steps(4L * step, HOW).size());
    assertEquals(65, TEXT.steps(65L * step, HOW).size());
    // A number that was asked for is that of all trainings.
    DistillationSettings given = HOW.withStepTokens(step);
    assertEquals(step, given.stepTokens(1));
    assertEquals(step, given.stepTokens(1_000_000_000));
    assertEquals(4, TEXT.steps(4L * step, given).size());
  }

  /** Larger steps take less time for a token where all of a step runs at once. */
  @Test
  void aLongTrainingHasAsLargeStepsAsTheDeviceRunsAtOnce() {
    int step = HOW.stepTokens();
    assertEquals(step, HOW.stepTokens(1_000_000_000));
    DistillationSettings wide = on(8 * step);
    assertEquals(4 * step, wide.batchTokens());
    assertEquals(step, wide.stepTokens(2048L * step - 1));
    assertEquals(2 * step, wide.stepTokens(2048L * step));
    assertEquals(2 * step, wide.stepTokens(4096L * step - 1));
    assertEquals(4 * step, wide.stepTokens(4096L * step));
    assertEquals(4 * step, wide.stepTokens(1_000_000_000));
    assertEquals(2 * step, on(2 * step).stepTokens(1_000_000_000));
    RangeTest test = RangeTest.of(4096L * step, wide);
    assertEquals(4L * step, test.tokens() / test.steps(), "rates are tried by such steps");
  }

  /** The settings for a device that runs so many tokens at once. */
  private static DistillationSettings on(int tokens) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      return HOW.on(
          new UnknownDevice(0) {
            @Override
            public int batchTokens(int least, long bytesPerToken) {
              return tokens;
            }
          },
          checkpoint.config(),
          1);
    }
  }

  /** A measurement takes half of the time of a training on as many tokens. */
  @ParameterizedTest
  @ValueSource(longs = {8_192, 20_000, 100_000, 1_000_000})
  void measurementsTakeASmallPartOfATraining(long tokens) {
    long measured = TEXT.measured(tokens).stream().mapToLong(FitText::tokens).sum();
    long all = (HOW.measurements(tokens) + 1) * measured;
    assertTrue(all <= 3 * tokens / 10, all + " of " + tokens);
    assertTrue(measured >= DistillationText.MEASURED_AT_ONCE);
  }

  @Test
  void aLongTrainingIsMeasuredOnAllThatIsHeldOut() {
    assertEquals(TEXT.heldOut(), TEXT.measured(50_000).stream().flatMap(List::stream).toList());
    assertTrue(TEXT.measured(8_192).size() < TEXT.measured(50_000).size());
  }
}
