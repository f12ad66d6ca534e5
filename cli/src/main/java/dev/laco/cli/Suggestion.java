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

  /**
   * Characters to insert, delete, replace or swap with their neighbour on the way from one to the
   * other (Damerau and Levenshtein, no part changed twice).
   */
  private static int distance(String from, String to) {
    int[][] steps = new int[from.length() + 1][to.length() + 1];
    for (int i = 0; i <= from.length(); i++) {
      for (int j = 0; j <= to.length(); j++) {
        steps[i][j] = Math.max(i, j);
        if (i > 0 && j > 0) {
          int replaced = steps[i - 1][j - 1] + (from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1);
          steps[i][j] = Math.min(replaced, 1 + Math.min(steps[i - 1][j], steps[i][j - 1]));
        }
        if (i > 1
            && j > 1
            && from.charAt(i - 1) == to.charAt(j - 2)
            && from.charAt(i - 2) == to.charAt(j - 1)) {
          steps[i][j] = Math.min(steps[i][j], steps[i - 2][j - 2] + 1);
        }
      }
    }
    return steps[from.length()][to.length()];
  }
}
