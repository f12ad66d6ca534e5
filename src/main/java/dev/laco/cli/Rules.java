package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.collapse.MergeRule;
import dev.laco.fit.FitRule;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The values of {@code --rule}: rules that merge, rules that fit, and the choice between them. */
final class Rules implements Iterable<String> {
  /** The names of all rules; {@code rdsc} takes a factor as well. */
  @Override
  public Iterator<String> iterator() {
    return Stream.of(
            Stream.of(MergeRule.AUTO),
            MergeRule.all().stream().map(MergeRule::optionValue),
            fitting().stream())
        .flatMap(names -> names)
        .iterator();
  }

  /** The names of the rules that fit. */
  static List<String> fitting() {
    return Arrays.stream(FitRule.values()).map(FitRule::optionValue).toList();
  }

  /**
   * The rule that merges of this name.
   *
   * @throws UsageException that names all rules
   */
  static MergeRule merging(String name) {
    try {
      return MergeRule.parse(name);
    } catch (UsageException e) {
      throw new UsageException(
          e.getMessage()
              + "; "
              + String.join(", ", fitting())
              + "; or, with a target, "
              + MergeRule.AUTO);
    }
  }

  /** What every rule does and costs, for people. */
  static String table() {
    StringBuilder rows = new StringBuilder(row("RULE", "COST", "WHAT IT DOES"));
    for (MergeRule rule : MergeRule.all()) {
      rows.append(row(rule.optionValue(), "", rule.summary()));
    }
    for (FitRule rule : FitRule.values()) {
      rows.append(row(rule.optionValue(), "+".repeat(rule.cost()), rule.summary()));
    }
    String both =
        MergeRule.auto().stream().map(MergeRule::optionValue).collect(Collectors.joining(" or "));
    rows.append(
        row(
            MergeRule.AUTO,
            "+".repeat(FitRule.REFINE.cost()),
            both + ", the better for each span, then refine"));
    return rows.toString();
  }

  private static String row(String name, String cost, String summary) {
    return String.format(Locale.ROOT, "  %-10s  %-5s  %s", name, cost, summary).stripTrailing()
        + System.lineSeparator();
  }
}
