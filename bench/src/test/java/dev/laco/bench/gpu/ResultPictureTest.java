package dev.laco.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A picture of the results of a file. */
class ResultPictureTest {
  private static final String CEILING =
      """
      {"card":"%s","commit":"abc","op":"ceiling","of":"read","median":0.001,"bytes":3e9,"operations":0}
      """;

  private static final String NORM =
      """
      {"card":"%s","commit":"abc","op":"rms_norm","kernel":"norm","model":"Llama","sizes":"%s","median":0.001,\
      "bytes":3e9,"operations":0,"ceilings":[{"name":"read","unit":"GB/s","shareOfMedian":%s}]}
      """;

  @TempDir private Path folder;

  private static String ceiling(String card) {
    return String.format(Locale.ROOT, CEILING, card);
  }

  private static String norm(String card, String sizes, String share) {
    return String.format(Locale.ROOT, NORM, card, sizes, share);
  }

  private String picture(String... lines) throws IOException {
    Path file = Files.writeString(folder.resolve("results.jsonl"), String.join("", lines));
    Path svg = folder.resolve("picture.svg");
    new ResultPicture(file).write(svg);
    return Files.readString(svg);
  }

  @Test
  void theLastResultOfTheLastCardCounts() throws IOException {
    String svg =
        picture(
            ceiling("old card"),
            norm("old card", "1 token", "0.1"),
            ceiling("new card"),
            norm("new card", "2 tokens", "0.2"),
            norm("new card", "2 tokens", "0.3"));
    assertTrue(svg.contains("Kernels on new card, commit abc"), svg);
    assertTrue(svg.contains("norm, Llama, 2 tokens: 30.0 %"), svg);
    assertFalse(svg.contains("1 token"), svg);
    assertEquals(1, svg.split("norm, Llama", -1).length - 1);
  }

  @Test
  void whatIsNoResultIsRefusedByItsLine() {
    BadInputException e =
        assertThrows(BadInputException.class, () -> picture(ceiling("a card"), "nonsense\n"));
    assertTrue(e.getMessage().contains("results.jsonl, line 2: expected a result"), e.getMessage());
    for (List<String> nothing : List.of(List.of(""), List.of(ceiling("a card")))) {
      assertTrue(
          assertThrows(BadInputException.class, () -> picture(nothing.toArray(String[]::new)))
              .getMessage()
              .contains("no kernels with ceilings"));
    }
  }
}
