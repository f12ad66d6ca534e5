package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import java.util.Iterator;
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
            MergeRule.all().stream().map(MergeRule::label),
            FitRule.labels().stream())
        .flatMap(names -> names)
        .iterator();
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
              + String.join(", ", FitRule.labels())
              + "; or, with a target, "
              + MergeRule.AUTO);
    }
  }

  /** What every rule does and costs, for people. */
  static String table() {
    StringBuilder rows = new StringBuilder(row("RULE", "COST", "WHAT IT DOES"));
    for (MergeRule rule : MergeRule.all()) {
      rows.append(row(rule.label(), "", summary(rule)));
    }
    for (FitRule rule : FitRule.presets()) {
      rows.append(row(rule.label(), cost(rule), summary(rule)));
    }
    String both =
        MergeRule.auto().stream().map(MergeRule::label).collect(Collectors.joining(" or "));
    rows.append(
        row(
            MergeRule.AUTO,
            cost(FitRule.REFINE),
            both + " by span, then the last fit above that holds"));
    return rows.toString();
  }

  private static String summary(MergeRule rule) {
    return switch (rule.kind()) {
      case REPLACE -> "the last follower in place of the base (the published code)";
      case RDSC -> "Eq. 1 of the paper; rdsc:LAMBDA scales the differences";
      case MEAN -> "the mean of the base and its followers";
      case DROP -> "the base alone: the followers are removed";
    };
  }

  private static String summary(FitRule rule) {
    return switch (rule.label()) {
      case "compensate" -> "drop, then what later layers write is scaled (Prune&Comp)";
      case "map" -> "drop, then one linear map before each gap (ReplaceMe)";
      case "reconstruct" -> "drop, then every layer from a gap on trained by itself";
      case "fit" -> "drop, then the down projection before each gap fitted";
      case "select" -> "fit, its channels chosen from all layers of the gap";
      case "align" -> "select, the inputs of its channels aligned";
      case "repair" -> "align, and every layer behind a gap fitted";
      case "refine" -> "repair, then every layer trained: the best";
      default -> throw new IllegalArgumentException(rule + " is no preset");
    };
  }

  /** More for a rule that takes longer. */
  private static String cost(FitRule rule) {
    int fitted = rule.gap().compareTo(FitRule.Gap.DOWN) >= 0 ? 2 : 1;
    return "+"
        .repeat(
            rule.reconstructs() && rule.solves()
                ? 4
                : rule.later() || rule.reconstructs() ? 3 : fitted);
  }

  private static String row(String name, String cost, String summary) {
    return String.format(Locale.ROOT, "  %-10s  %-5s  %s", name, cost, summary).stripTrailing()
        + System.lineSeparator();
  }
}
