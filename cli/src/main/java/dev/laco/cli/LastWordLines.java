package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.PicturesPage.Fact;
import dev.laco.cli.PicturesPage.Table;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.LastWordComparison;
import dev.laco.report.LastWord;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.StringJoiner;

/** What people see of how often a model knows the last word of a passage. */
final class LastWordLines {
  private LastWordLines() {}

  static String of(EvaluateResult.OfPassages result) {
    LastWord words = result.lastWord();
    StringBuilder lines = new StringBuilder();
    lines.append(
        String.format(
            Locale.ROOT,
            "%-12s %s (%,d of %,d items of %s)%n",
            "last word",
            share(words),
            words.correct(),
            words.items(),
            result.passages()));
    for (LastWordComparison other : result.against()) {
      List<String> change = TaskLines.change(other.shares());
      StringJoiner changes = new StringJoiner(", ");
      for (int i = 0; i < change.size(); i++) {
        changes.add(TaskLines.CHANGE.get(i) + " " + change.get(i));
      }
      lines.append(
          String.format(
              Locale.ROOT,
              "%n%s beside the dense model, on the same items%n%-12s %s (%,d of %,d items)%n%-12s"
                  + " %s%n",
              other.pruned(),
              "last word",
              share(other.lastWord()),
              other.lastWord().correct(),
              other.lastWord().items(),
              "paired",
              changes));
    }
    return lines.toString();
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
    List<Fact> facts = new ArrayList<>();
    facts.add(new Fact("last words", share(words)));
    facts.add(
        new Fact(
            "items", String.format(Locale.ROOT, "%,d of %,d", words.correct(), words.items())));
    List<List<String>> rows = new ArrayList<>();
    for (LastWordComparison other : result.against()) {
      String pruned = Model.name(other.pruned());
      facts.add(new Fact(pruned, share(other.lastWord())));
      List<String> row = new ArrayList<>(List.of(pruned));
      row.addAll(TaskLines.change(other.shares()));
      rows.add(row);
    }
    List<String> columns = new ArrayList<>(List.of("model"));
    columns.addAll(TaskLines.CHANGE);
    return new PicturesPage(
        name + ": last words",
        made,
        List.of("How often a model writes the last word of a passage: " + result.passages() + "."),
        facts,
        next,
        List.of(),
        rows.isEmpty()
            ? List.of()
            : List.of(new Table("Beside the dense model, on the same passages", columns, rows)),
        "The same numbers: the same command with --json.");
  }

  private static String share(LastWord words) {
    return String.format(
        Locale.ROOT, "%.1f %% ± %.1f", 100 * words.accuracy(), 100 * words.standardError());
  }
}
