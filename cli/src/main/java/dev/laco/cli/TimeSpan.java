package dev.laco.cli;

import dev.laco.UsageException;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A length of time on the command line: {@code 90s}, {@code 10m}, {@code 1.5h}. */
record TimeSpan(double seconds) {
  private static final Pattern SPAN = Pattern.compile("(\\d{1,6}(?:\\.\\d{1,6})?)([smh])");

  /**
   * Reads a length of time.
   *
   * @throws UsageException if it is none, or 0
   */
  static TimeSpan parse(String text) {
    Matcher matcher = SPAN.matcher(text.strip().toLowerCase(Locale.ROOT));
    double seconds =
        matcher.matches()
            ? Double.parseDouble(matcher.group(1))
                * switch (matcher.group(2)) {
                  case "s" -> 1;
                  case "m" -> 60;
                  default -> 3600;
                }
            : 0;
    if (seconds <= 0) {
      throw new UsageException(text + ": expected a time above 0, such as 90s, 10m or 1.5h");
    }
    return new TimeSpan(seconds);
  }
}
