package dev.laco.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.UsageException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** A generation without a command line. */
final class GenerateJobTest {
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withThreads(1);
  private static final GenerateRequest REQUEST =
      GenerateRequest.of("Once upon a time").withMaxTokens(6).withSampling(0.7, 0.9, 5);

  @Test
  void tellsEachPieceOfItsText() {
    StringBuilder told = new StringBuilder();
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateResult result =
          new GenerateJob(model, CPU, REQUEST)
              .listener(
                  event -> {
                    if (event instanceof GenerateEvent.TextAdded(String text)) {
                      told.append(text);
                    }
                  })
              .run();
      assertEquals(result.text(), told.toString());
    }
  }

  /** A prompt may end in U+FFFD, as where it was read as UTF-8 and is not. */
  @Test
  void theTextHasNothingOfThePrompt() {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateRequest request = GenerateRequest.of("x\uFFFD\uFFFD").withSampling(0, 1, 0);
      String text = new GenerateJob(model, CPU, request.withMaxTokens(6)).run().text();
      assertTrue(!text.contains("\uFFFD"), text);
    }
  }

  @Test
  void tokensASecondDoNotCountTheTimeOfThePrompt() {
    GenerateResult result = new GenerateResult("", 2000, 5, 10, 12);
    assertEquals(2, result.tokensPerSecond().orElseThrow());
    assertTrue(new GenerateResult("a", 2000, 1, 10, 10).tokensPerSecond().isEmpty());
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateResult measured = new GenerateJob(model, CPU, REQUEST).run();
      assertTrue(measured.promptSeconds() > 0, measured::toString);
      assertTrue(measured.promptSeconds() < measured.seconds(), measured::toString);
    }
  }

  @Test
  void aCancelledGenerationEndsBeforeTheNextToken() {
    Cancellation token = new Cancellation();
    AtomicInteger pieces = new AtomicInteger();
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateJob job =
          new GenerateJob(model, CPU, REQUEST)
              .cancelledBy(token)
              .listener(
                  event -> {
                    if (event instanceof GenerateEvent.TextAdded) {
                      pieces.incrementAndGet();
                      token.cancel();
                    }
                  });
      assertThrows(CancelledException.class, job::run);
    }
    assertEquals(1, pieces.get());
  }

  @Test
  void anInterruptedGenerationEndsAndLeavesTheModelToOthers() {
    AtomicInteger pieces = new AtomicInteger();
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateJob job =
          new GenerateJob(model, CPU, REQUEST)
              .listener(
                  event -> {
                    if (event instanceof GenerateEvent.TextAdded) {
                      pieces.incrementAndGet();
                      Thread.currentThread().interrupt();
                    }
                  });
      assertThrows(CancelledException.class, job::run);
      assertTrue(Thread.interrupted(), "the thread stays interrupted");
      assertEquals(1, pieces.get());
      assertEquals(6, new GenerateJob(model, CPU, REQUEST).run().newTokens());
    }
  }

  @Test
  void whatCannotBeMetIsSaidInTheWordsOfARequest() {
    UsageException tokens = assertThrows(UsageException.class, () -> REQUEST.withMaxTokens(0));
    assertTrue(tokens.getMessage().startsWith("maxTokens 0: expected 1 to"), tokens::getMessage);
    UsageException probability =
        assertThrows(UsageException.class, () -> REQUEST.withSampling(0, 1.5, 0));
    assertTrue(probability.getMessage().startsWith("topP 1.5"), probability::getMessage);
  }
}
