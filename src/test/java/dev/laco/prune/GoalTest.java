package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.UsageException;
import java.math.BigDecimal;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How many layers a goal leaves of a model of twelve equal layers. */
final class GoalTest {
  private final Model model = Model.open(Fixtures.model("llama_tied_rope3"));

  @AfterEach
  void close() {
    model.close();
  }

  @ParameterizedTest
  @CsvSource({"0, 12", "0.01, 12", "0.0833, 12", "0.084, 11", "0.25, 9", "0.5, 6", "0.999, 1"})
  void aRatioRoundsLayersUp(BigDecimal removed, int left) {
    assertEquals(left, Goal.ratio(removed).depth(model));
  }

  @ParameterizedTest
  @CsvSource({"-0.1", "1", "1.5"})
  void aRatioThatLeavesNothingIsNone(BigDecimal removed) {
    assertThrows(UsageException.class, () -> Goal.ratio(removed));
  }

  @Test
  void bytesHoldAsManyLayersAsFit() {
    long all = model.checkpoint().totalBytes();
    long layer = model.checkpoint().layerBytes(0);
    assertEquals(12, Goal.bytes(all).depth(model));
    assertEquals(12, Goal.bytes(Long.MAX_VALUE).depth(model));
    assertEquals(11, Goal.bytes(all - 1).depth(model));
    assertEquals(11, Goal.bytes(all - layer).depth(model));
    assertEquals(10, Goal.bytes(all - layer - 1).depth(model));
    assertEquals(1, Goal.bytes(all - 11 * layer).depth(model));
    UsageException e =
        assertThrows(UsageException.class, () -> Goal.bytes(all - 11 * layer - 1).depth(model));
    assertTrue(e.getMessage().contains(Long.toString(all - 11 * layer)), e::getMessage);
  }

  @Test
  void aNumberOfLayersIsOneOfTheModel() {
    assertEquals(1, Goal.layers(1).depth(model));
    assertEquals(12, Goal.layers(12).depth(model));
    assertThrows(UsageException.class, () -> Goal.layers(0).depth(model));
    assertThrows(UsageException.class, () -> Goal.layers(13).depth(model));
  }

  @Test
  void aThresholdIsNoSize() {
    assertThrows(UsageException.class, () -> Goal.threshold(0.5).depth(model));
    assertThrows(UsageException.class, () -> Goal.threshold(Double.NaN));
  }
}
