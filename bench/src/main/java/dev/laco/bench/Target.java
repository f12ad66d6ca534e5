package dev.laco.bench;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What the project wants of a case, held against its median.
 *
 * @param share at least so much of the note's first ceiling, null if it is a time that counts
 * @param seconds at most, null if it is a share that counts
 */
public record Target(@Nullable Double share, @Nullable Double seconds) {
  /** At least {@code share} of the first ceiling. */
  public static Target ofCeiling(double share) {
    return new Target(share, null);
  }

  /** Below a time. */
  public static Target under(double seconds) {
    return new Target(null, seconds);
  }

  boolean isMet(Report.Row row) {
    if (seconds != null) {
      return row.median() < seconds;
    }
    return share != null && row.ofMedian(row.ceilings().getFirst()) >= share;
  }

  @Override
  public String toString() {
    return seconds == null
        ? String.format(Locale.ROOT, "%.0f %%", share == null ? 0 : 100 * share)
        : "< " + Report.time(seconds);
  }
}
