package dev.laco.cli;

import dev.laco.evaluate.EvaluateResult;
import dev.laco.report.LastWord;
import java.util.List;
import java.util.Locale;

/** What people see of how often a model knows the last word of a passage. */
final class LastWordLines {
  private LastWordLines() {}

  static String of(EvaluateResult.OfPassages result) {
    LastWord words = result.lastWord();
    return String.format(
        Locale.ROOT,
        "%-12s %s (%,d of %,d items of %s)%n",
        "last word",
        share(words),
        words.correct(),
        words.items(),
        result.passages());
  }

  /**
   * The same as a page.
   *
   * @param name of the model
   */
  static PicturesPage page(
      EvaluateResult.OfPassages result,
      String name,
      PicturesPage.Made made,
      PicturesPage.Next next) {
    LastWord words = result.lastWord();
    return new PicturesPage(
        name + ": last words",
        made,
        List.of(
            "How often the model writes the last word of a passage: " + result.passages() + "."),
        List.of(
            new PicturesPage.Fact("last words", share(words)),
            new PicturesPage.Fact(
                "items", String.format(Locale.ROOT, "%,d of %,d", words.correct(), words.items()))),
        next,
        List.of(),
        List.of(),
        "The same numbers: the same command with --json.");
  }

  private static String share(LastWord words) {
    return String.format(
        Locale.ROOT, "%.1f %% ± %.1f", 100 * words.accuracy(), 100 * words.standardError());
  }
}
