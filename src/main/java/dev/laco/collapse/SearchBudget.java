package dev.laco.collapse;

import dev.laco.UsageException;
import java.util.function.BooleanSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * How long a search for a size may go on. With seconds its result depends on the machine; with
 * sweeps it repeats.
 *
 * @param seconds wall-clock, infinite where sweeps bound it
 * @param sweeps passes over the model, the original's included, beyond any where seconds bound it
 */
public record SearchBudget(double seconds, int sweeps) {
  /** As long as it takes. */
  public static final SearchBudget UNLIMITED =
      new SearchBudget(Double.POSITIVE_INFINITY, Integer.MAX_VALUE);

  private static final Pattern FORM = Pattern.compile("([0-9]{1,6})(s|sweeps)");

  /**
   * Reads a value of {@code --search-budget}.
   *
   * @throws UsageException if it is none
   */
  public static SearchBudget parse(String text) {
    Matcher form = FORM.matcher(text);
    if (!form.matches() || Integer.parseInt(form.group(1)) < 1) {
      throw new UsageException(
          "--search-budget "
              + text
              + ": expected seconds, like 60s, or passes over the model, like 40sweeps");
    }
    int number = Integer.parseInt(form.group(1));
    return form.group(2).equals("s")
        ? new SearchBudget(number, Integer.MAX_VALUE)
        : new SearchBudget(Double.POSITIVE_INFINITY, number);
  }

  /** Starts the clock; the answer turns true when the budget is spent. */
  BooleanSupplier start(Scorer scorer) {
    long start = System.nanoTime();
    return () -> scorer.sweeps() >= sweeps || (System.nanoTime() - start) / 1e9 >= seconds;
  }
}
