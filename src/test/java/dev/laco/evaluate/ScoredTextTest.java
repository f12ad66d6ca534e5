package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.report.Perplexity;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Perplexity of documents, as chunks and as the windows of published numbers. */
final class ScoredTextTest {
  private static final String FIRST = " = The Mill = \n";
  private static final String SECOND =
      " The old woman lived by the river , and every morning she walked to the mill . \n";
  private static final List<String> ROWS = List.of("", FIRST, "", SECOND, SECOND, "");

  @TempDir Path folder;

  private static String json(List<String> texts) {
    return texts.stream()
        .map(text -> JsonNodeFactory.instance.objectNode().put("text", text) + "\n")
        .collect(Collectors.joining());
  }

  private EvaluateResult.OfText measured(
      String file, String content, @Nullable Integer window, @Nullable Integer stride) {
    Path path = TestFiles.write(folder.resolve(file), content);
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Model same = Model.open(Fixtures.STORYTELLER)) {
      return (EvaluateResult.OfText)
          new EvaluateJob(
                  model,
                  DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32),
                  new EvaluateRequest.Text(path, null, stride, window))
              .against(List.of(same))
              .run();
    }
  }

  /** The rows of WikiText, its published file, and what both are joined to. */
  @Test
  void rowsAreJoinedByBlankLinesAndCutIntoWindows() {
    Perplexity rows = measured("rows.jsonl", json(ROWS), 16, 16).perplexity();
    Perplexity joined = measured("joined.txt", String.join("\n\n", ROWS), 16, null).perplexity();
    String published = " \n" + FIRST + "\n" + SECOND + SECOND + " \n";
    assertEquals(joined, rows);
    assertEquals(joined, measured("wiki.test.raw", published, 16, null).perplexity());
    // Windows of 16 tokens, of which 15 have a token before them.
    assertEquals(0, joined.tokens() % 15);
  }

  /** Every token has BOS or another before it, so that all bytes are scored. */
  @Test
  void bitsAreThoseOfAllBytes() {
    EvaluateResult.OfText found = measured("text.txt", SECOND, null, null);
    double nats = found.perplexity().meanNll() * found.perplexity().tokens();
    int bytes = SECOND.getBytes(StandardCharsets.UTF_8).length;
    assertEquals(nats / Math.log(2) / bytes, found.bitsPerByte(found.perplexity()), 1e-12);
    JsonNode json = EvaluateJson.of(found);
    assertEquals(Math.exp(nats / bytes), json.get("bytePerplexity").doubleValue(), 1e-9);
    assertEquals(1, json.at("/against/0/comparison/ratio").doubleValue());
    assertNull(found.against().getFirst().interval(), "of one part");
  }

  @Test
  void documentsAreCutEachByItselfAndDrawnByTheBootstrap() {
    EvaluateResult.OfText both =
        measured("both.jsonl", json(List.of(FIRST, "", SECOND)), null, null);
    Perplexity first = measured("first.txt", FIRST, null, null).perplexity();
    Perplexity second = measured("second.txt", SECOND, null, null).perplexity();
    assertEquals(first.tokens() + second.tokens(), both.perplexity().tokens());
    assertEquals(
        first.meanNll() * first.tokens() + second.meanNll() * second.tokens(),
        both.perplexity().meanNll() * both.perplexity().tokens(),
        1e-4);
    assertEquals(2, both.parts().count());
    assertEquals("document", both.part());
    assertEquals(new Interval(1, 1), both.against().getFirst().interval());
  }

  /** Without BOS nothing predicts a document's only token. */
  @Test
  void aDocumentWithoutATokenToScoreIsLeftOut() throws IOException {
    Path copy = Files.createDirectory(folder.resolve("model"));
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      Files.createSymbolicLink(
          copy.resolve(name), Fixtures.STORYTELLER.resolve(name).toAbsolutePath());
    }
    Fixtures.writeTokenizer(copy, "A");
    EvaluateResult.OfText with = withoutBos(copy, List.of(FIRST, "a", SECOND, " \n"));
    EvaluateResult.OfText without = withoutBos(copy, List.of(FIRST, SECOND));
    assertEquals(without.perplexity(), with.perplexity());
    assertEquals(without.parts().count(), with.parts().count());
    assertEquals(without.bitsPerByte(without.perplexity()), with.bitsPerByte(with.perplexity()), 0);
    BadInputException none =
        assertThrows(BadInputException.class, () -> withoutBos(copy, List.of("a", "b")));
    assertTrue(none.getMessage().endsWith("holds no token to score"), none.getMessage());
  }

  private EvaluateResult.OfText withoutBos(Path copy, List<String> documents) {
    Path text = TestFiles.write(folder.resolve("documents.jsonl"), json(documents));
    try (Model model = Model.open(copy)) {
      return (EvaluateResult.OfText)
          new EvaluateJob(
                  model,
                  DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32),
                  new EvaluateRequest.Text(text, null, null, null))
              .run();
    }
  }

  @Test
  void theIntervalIsOfTheRatioOfPerplexities() {
    Metric dense = new Metric(Metric.PERPLEXITY, new double[] {-10, -40}, new double[] {10, 20});
    Metric pruned = new Metric(Metric.PERPLEXITY, new double[] {-11, -44}, new double[] {10, 20});
    TextComparison found = TextComparison.of(dense, pruned, folder, new Perplexity(30, 55.0 / 30));
    assertEquals(Math.exp(5.0 / 30), found.ratio(), 1e-12);
    Interval interval = found.interval();
    assertNotNull(interval);
    // Drawn twice, the first part alone gives exp(1 / 10) and the second exp(4 / 20).
    assertEquals(Math.exp(0.1), interval.low(), 1e-12);
    assertEquals(Math.exp(0.2), interval.high(), 1e-12);
  }
}
