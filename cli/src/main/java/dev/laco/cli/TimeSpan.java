package dev.laco.cli;

import dev.laco.UsageException;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** A length of time on the command line: {@code 90s}, {@code 10m}, {@code 1.5h}, {@code 1h30m}. */
record TimeSpan(double seconds) {
  private static final String NUMBER = "(\\d{1,6}(?:\\.\\d{1,6})?)";
  private static final Pattern SPAN =
      Pattern.compile("(?:" + NUMBER + "h)?(?:" + NUMBER + "m)?(?:" + NUMBER + "s)?");

  /**
   * Reads a length of time.
   *
   * @throws UsageException if it is none, or 0
   */
  static TimeSpan parse(String text) {
    Matcher matcher = SPAN.matcher(text.strip().toLowerCase(Locale.ROOT));
    double seconds =
        matcher.matches()
            ? 3600 * number(matcher.group(1))
                + 60 * number(matcher.group(2))
                + number(matcher.group(3))
            : 0;
    if (seconds <= 0) {
      throw new UsageException(text + ": expected a time above 0, such as 90s, 10m or 1h30m");
    }
    return new TimeSpan(seconds);
  }

  private static double number(@Nullable String digits) {
    return digits == null ? 0 : Double.parseDouble(digits);
  }
}
