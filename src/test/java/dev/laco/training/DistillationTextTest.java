package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.text.FitText;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** In which order a training meets its text. */
class DistillationTextTest {
  private static final int CHUNK = 10;

  /** 24 documents of one chunk each, of which three are held out. */
  private final FitText text =
      new FitText(
          "text",
          IntStream.range(0, 24)
              .mapToObj(
                  i ->
                      new FitText.Chunk(
                          IntStream.generate(() -> i).limit(CHUNK).toArray(), i, "domain"))
              .toList());

  private final DistillationText parts =
      DistillationText.of(
          text, text.chunks().stream().filter(chunk -> chunk.document() % 8 == 7).toList());

  @Test
  void aShortTrainingTakesWhatAFitTakesLast() {
    List<FitText.Chunk> learnt = parts.learnt();
    assertEquals(21, learnt.size());
    Set<Integer> fitted = documents(new FitText("learnt", learnt).limit(12 * CHUNK).chunks());
    List<FitText.Chunk> trained = parts.order(9 * CHUNK, 0);
    assertEquals(9, trained.size());
    assertTrue(Collections.disjoint(fitted, documents(trained)), trained::toString);
    assertNotEquals(trained, parts.order(9 * CHUNK, 1));
    assertEquals(documents(trained), documents(parts.order(9 * CHUNK, 1)));
    assertEquals(9, parts.order(9 * CHUNK - 1, 0).size());
  }

  @Test
  void aLongTrainingMeetsAllOfTheTextBeforeAnyOfItAgain() {
    List<FitText.Chunk> order = parts.order(50 * CHUNK, 0);
    assertEquals(50, order.size());
    Set<Integer> all = documents(parts.learnt());
    assertEquals(all, documents(order.subList(0, 21)));
    assertEquals(all, documents(order.subList(21, 42)));
    assertNotEquals(order.subList(0, 21), order.subList(21, 42));
    assertEquals(documents(parts.learnt().subList(13, 21)), documents(order.subList(42, 50)));
  }

  private static Set<Integer> documents(List<FitText.Chunk> chunks) {
    return chunks.stream()
        .map(FitText.Chunk::document)
        .collect(Collectors.toCollection(TreeSet::new));
  }
}
