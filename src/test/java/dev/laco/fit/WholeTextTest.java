package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.collapse.FitRule;
import dev.laco.text.FitText;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which text layers are fitted on, and which norms are trained on. */
class WholeTextTest {
  /** A text whose tokens are numbered. */
  private static FitText numbered(int tokens) {
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int from = 0; from < tokens; from += 100) {
      int[] ids = IntStream.range(from, Math.min(from + 100, tokens)).toArray();
      chunks.add(new FitText.Chunk(ids, chunks.size(), "a text"));
    }
    return new FitText("a text", chunks);
  }

  private static int[] ids(List<FitText.Chunk> chunks) {
    return chunks.stream().flatMapToInt(chunk -> IntStream.of(chunk.ids())).toArray();
  }

  @Test
  void normsAreTrainedOnWhatFollowsTheTextOfTheLayers() {
    WholeText text = WholeText.of(numbered(100_000), 40_000, FitRule.REFINE, false);
    assertArrayEquals(IntStream.range(0, 40_000).toArray(), ids(text.layers().chunks()));
    assertArrayEquals(IntStream.range(40_000, 45_000).toArray(), ids(text.norms()));
    assertArrayEquals(IntStream.range(0, 45_000).toArray(), ids(text.all().chunks()));
  }

  @ParameterizedTest
  @CsvSource({
    // A training of all weights follows.
    "refine, 100000, 40000, true",
    // The rule trains no layers.
    "align, 100000, 40000, false",
    // The text does not go on, or not for long enough.
    "refine, 40000, 40000, false",
    "reconstruct, 44999, 40000, false",
    // An eighth of so few tokens trains nothing.
    "reconstruct, 100000, 32000, false"
  })
  void elsewhereNormsAreNotTrained(String rule, int source, int tokens, boolean trained) {
    WholeText text = WholeText.of(numbered(source), tokens, FitRule.named(rule), trained);
    assertEquals(tokens, text.layers().tokens());
    assertTrue(text.norms().isEmpty());
    assertEquals(text.layers(), text.all());
  }

  @Test
  void everyRuleThatTrainsLayersTrainsNorms() {
    FitText source = numbered(50_000);
    Stream.of(FitRule.REFINE, FitRule.RECONSTRUCT)
        .forEach(
            rule ->
                assertEquals(
                    4096,
                    WholeText.of(source, 32_768, rule, false).norms().stream()
                        .mapToInt(FitText.Chunk::length)
                        .sum()));
  }
}
