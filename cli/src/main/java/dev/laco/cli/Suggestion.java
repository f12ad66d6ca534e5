package dev.laco.cli;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.UnmatchedArgumentException;

/** What somebody may have meant who wrote a command or an option that there is not. */
final class Suggestion {
  private Suggestion() {}

  /** An error message that names the first argument that was not understood. */
  static String message(UnmatchedArgumentException e) {
    CommandSpec spec = e.getCommandLine().getCommandSpec();
    String unknown = e.getUnmatched().getFirst();
    if (e.isUnknownOption()) {
      String name = unknown.replaceFirst("=.*", "");
      return "unknown option " + name + didYouMean(name, options(spec));
    }
    return spec.subcommands().isEmpty()
        ? "'" + unknown + "' is one argument too many"
        : "unknown command '" + unknown + "'" + didYouMean(unknown, spec.subcommands().keySet());
  }

  private static List<String> options(CommandSpec spec) {
    List<String> names = new ArrayList<>();
    for (OptionSpec option : spec.options()) {
      names.add(option.longestName());
    }
    return names;
  }

  private static String didYouMean(String unknown, Collection<String> known) {
    Optional<String> nearest =
        known.stream()
            .filter(name -> distance(unknown, name) <= Math.max(1, unknown.length() / 3))
            .min(Comparator.comparingInt(name -> distance(unknown, name)));
    return nearest.map(name -> ": did you mean " + name + "?").orElse("");
  }

  /** Characters to insert, delete or replace on the way from one to the other (Levenshtein). */
  private static int distance(String from, String to) {
    int[] row = new int[to.length() + 1];
    for (int j = 0; j <= to.length(); j++) {
      row[j] = j;
    }
    for (int i = 1; i <= from.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j <= to.length(); j++) {
        int replaced = diagonal + (from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(replaced, 1 + Math.min(row[j], row[j - 1]));
      }
    }
    return row[to.length()];
  }
}
