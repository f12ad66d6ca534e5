package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What texts have in common; and that no model learns what it is judged on. */
final class TextOverlapTest {
  private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}]+");

  @Test
  void commonRunsAreFoundWhereverTheyAre() {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int i = 0; i < 200; i++) {
      int[] seen = random.ints(100, 0, 1 << 20).toArray();
      int[] text = random.ints(100, 0, 1 << 20).toArray();
      int length = 1 + random.nextInt(40);
      System.arraycopy(seen, random.nextInt(60), text, random.nextInt(60), length);
      assertEquals(
          length < 13 ? 0 : length / 100.0,
          TextOverlap.share(List.of(seen), List.of(text)),
          1e-12,
          () -> "seed " + seed);
    }
    int[] same = IntStream.range(0, 50).toArray();
    assertEquals(1, TextOverlap.share(List.of(same), List.of(same)));
    assertEquals(0, TextOverlap.share(List.of(same), List.of(Arrays.copyOf(same, 12))));
    assertEquals(0, TextOverlap.share(List.of(), List.of()));
  }

  /** No 13 words in a row of a text that models are judged on stand in one that they learn from. */
  @Test
  void noTextIsBothLearntAndJudgedOn() {
    Map<String, Integer> numbers = new HashMap<>();
    String own = "models/storyteller/";
    List<int[]> learnt =
        new ArrayList<>(
            BuiltInText.fitDocuments().stream()
                .map(document -> words(document.text(), numbers))
                .toList());
    learnt.add(words(read(own + "fit.txt"), numbers));
    Map<String, String> judged =
        Map.of(
            "evaluation.txt",
            BuiltInText.evaluation(),
            "cloze.jsonl",
            BuiltInText.cloze(),
            "calibration.txt",
            String.join("\n", BuiltInText.calibrationSentences()),
            own + "evaluation.txt",
            read(own + "evaluation.txt"),
            own + "calibration.txt",
            read(own + "calibration.txt"));
    judged.forEach(
        (name, text) -> {
          int[] words = words(text, numbers);
          assertEquals(0, TextOverlap.share(learnt, List.of(words)), name);
          // A search chooses on what stands in a calibration text.
          boolean chosenOn = name.endsWith("calibration.txt");
          List<int[]> others =
              judged.entrySet().stream()
                  .filter(other -> chosenOn != other.getKey().endsWith("calibration.txt"))
                  .map(other -> words(other.getValue(), numbers))
                  .toList();
          assertEquals(0, TextOverlap.share(others, List.of(words)), name);
        });
    // The words are found: a sentence of a text stands in it.
    int[] sentence = Arrays.copyOfRange(learnt.getFirst(), 20, 40);
    assertTrue(TextOverlap.share(learnt, List.of(sentence)) == 1);
  }

  private static String read(String file) {
    return TextFile.read(Path.of(file));
  }

  private static int[] words(String text, Map<String, Integer> numbers) {
    return WORD.matcher(text.toLowerCase(Locale.ROOT))
        .results()
        .mapToInt(word -> numbers.computeIfAbsent(word.group(), _ -> numbers.size()))
        .toArray();
  }
}
