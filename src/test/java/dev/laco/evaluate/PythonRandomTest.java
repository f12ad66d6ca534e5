package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

/** Samples, beside those of CPython 3.11. */
final class PythonRandomTest {
  @Test
  void samplesAreThoseOfPython() {
    PythonRandom random = new PythonRandom(1234);
    assertEquals(List.of(49, 28, 7, 0, 5, 37), random.sample(52, 6));
    assertEquals(List.of(0, 10, 1, 9, 5), random.sample(12, 5));
    assertEquals(
        List.of(15519, 1142, 2019, 1038, 22681, 31735, 30379, 9735), random.sample(40000, 8));
    assertEquals(List.of(0, 2, 1), random.sample(3, 3));
  }
}
