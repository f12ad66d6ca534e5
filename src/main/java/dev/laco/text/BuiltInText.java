package dev.laco.text;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Texts that come with the engine, written for it, for models that bring none of their own. */
public final class BuiltInText {
  private BuiltInText() {}

  /** Ten short sentences, five English and five Chinese, on which similarity can be measured. */
  public static List<String> calibrationSentences() {
    return resource("calibration.txt").lines().toList();
  }

  /** About 1,500 English words in several registers, on which perplexity can be measured. */
  public static String evaluation() {
    return resource("evaluation.txt");
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
