package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Numbers as blocks. */
class SparklineTest {
  @Test
  void theLowestNumberIsTheLowestBlockAndTheHighestTheHighest() {
    assertEquals("▁▅█ ▁", Sparkline.of(List.of(1.0, 3.0, 4.5, Double.NaN, 1.2)));
    assertEquals("▁▁", Sparkline.of(List.of(7.0, 7.0)));
    assertEquals("", Sparkline.of(List.of()));
  }

  @Test
  void manyNumbersShareBlocks() {
    List<Double> rising = IntStream.range(0, 100).mapToObj(i -> (double) i).toList();
    String line = Sparkline.of(rising);
    assertEquals(34, line.length());
    assertEquals('▁', line.charAt(0));
    assertEquals('█', line.charAt(33));
  }
}
