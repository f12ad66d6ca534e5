package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import dev.laco.model.PackedSequences;
import dev.laco.text.CalibrationSet;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Records that hold arrays are equal by what the arrays hold. */
class RecordEqualityTest {
  private static PackedSequences packed(int last) {
    return PackedSequences.of(List.of(new int[] {1, 2}, new int[] {3, last}));
  }

  private static CalibrationSet texts(int last) {
    return new CalibrationSet("texts", List.of(new int[] {1, last}), List.of());
  }

  @Test
  void packedSequences() {
    assertEquals(packed(4), packed(4));
    assertEquals(packed(4).hashCode(), packed(4).hashCode());
    assertNotEquals(packed(4), packed(5));
  }

  @Test
  void calibrationSets() {
    assertEquals(texts(4), texts(4));
    assertEquals(texts(4).hashCode(), texts(4).hashCode());
    assertNotEquals(texts(4), texts(5));
  }
}
