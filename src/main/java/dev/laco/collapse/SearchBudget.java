package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.function.BooleanSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A limit on the length of a search. A limit in seconds makes the result depend on the speed of the
 * machine; a limit in sweeps does not.
 *
 * @param seconds wall-clock, infinite where sweeps bound it
 * @param sweeps passes over the model, the original's included, beyond any where seconds bound it
 */
public record SearchBudget(double seconds, int sweeps) {
  /** No limit. */
  public static final SearchBudget UNLIMITED =
      new SearchBudget(Double.POSITIVE_INFINITY, Integer.MAX_VALUE);

  private static final Pattern SWEEPS = Pattern.compile("([0-9]{1,6})sweeps");
  private static final Pattern TIME =
      Pattern.compile("(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?");

  /**
   * Reads the value of the setting {@code searchBudget}.
   *
   * @throws UsageException if the text is not a budget
   */
  public static SearchBudget parse(String text) {
    Matcher sweeps = SWEEPS.matcher(text);
    Matcher time = TIME.matcher(text);
    if (sweeps.matches() && number(sweeps.group(1)) > 0) {
      return new SearchBudget(Double.POSITIVE_INFINITY, number(sweeps.group(1)));
    }
    if (time.matches()) {
      double seconds =
          3600.0 * number(time.group(1)) + 60.0 * number(time.group(2)) + number(time.group(3));
      if (seconds > 0) {
        return new SearchBudget(seconds, Integer.MAX_VALUE);
      }
    }
    throw Setting.of("searchBudget")
        .refuse(text, "a time, like 90s, 2m or 1h30m, or passes over the model, like 40sweeps");
  }

  private static int number(@Nullable String digits) {
    return digits == null ? 0 : Integer.parseInt(digits);
  }

  /** Starts the clock; the answer turns true when the budget is spent. */
  BooleanSupplier start(Scorer scorer) {
    long start = System.nanoTime();
    return () -> scorer.sweeps() >= sweeps || (System.nanoTime() - start) / 1e9 >= seconds;
  }
}
