package dev.laco.text;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Texts that come with the engine, for models that bring none of their own. */
public final class BuiltInText {
  private static final List<String> FIT_REGISTERS =
      List.of(
          "addresses",
          "books",
          "children",
          "classics",
          "code",
          "dialogue",
          "essays",
          "howto",
          "languages",
          "letters",
          "lists",
          "manual",
          "news",
          "novels",
          "packages",
          "questions",
          "reference",
          "sources",
          "speeches",
          "technology",
          "treatises",
          "web");

  private BuiltInText() {}

  /** Ten short sentences, five English and five Chinese, on which similarity can be measured. */
  public static List<String> calibrationSentences() {
    return resource("calibration.txt").lines().toList();
  }

  /** About 1,500 English words in several registers, on which perplexity can be measured. */
  public static String evaluation() {
    return resource("evaluation.txt");
  }

  /**
   * Documents on which least squares are fitted, in registers from fiction to code; where each
   * comes from is told in {@code fit/README.md} beside them.
   */
  static List<FitText.Document> fitDocuments() {
    return FIT_REGISTERS.stream()
        .flatMap(
            register ->
                FitText.documents(resource("fit/" + register + ".txt")).stream()
                    .map(text -> new FitText.Document(InputText.of(text), register)))
        .toList();
  }

  /** Passages and their last words, an object a line as {@link ClozeSet} reads them. */
  static String cloze() {
    return resource("cloze.jsonl");
  }

  private static String resource(String name) {
    try (InputStream stream = BuiltInText.class.getResourceAsStream(name)) {
      if (stream == null) {
        throw new IllegalStateException("the engine's jar lacks " + name);
      }
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
