package dev.laco.fit;

import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * How far weights are fitted to carry over what removed layers did; from FIT on, each does more.
 */
public enum FitRule {
  /** All layers behind a gap write less, as if the stream had grown there (Prune&Comp). */
  COMPENSATE,
  /** The down projection before each gap, behind one linear map (ReplaceMe). */
  MAP,
  /** The down projection before each gap. */
  FIT,
  /** That, after its channels were chosen from all layers that it stands for. */
  SELECT,
  /** That, the channels' inputs aligned to what they saw in the original. */
  ALIGN,
  /** That, and in every layer behind a gap inputs aligned, output and down projection fitted. */
  REPAIR,
  /**
   * That, the gate and up projections of all these layers moved by Gauss-Newton steps, and the
   * final norm as long as the original's predictions ask for.
   */
  REFINE;

  /** The rule of this name, or null where it is none of these; {@code fit:map} is a map, too. */
  public static @Nullable FitRule named(String name) {
    return Arrays.stream(values())
        .filter(rule -> rule.optionValue().equals(name.equals("fit:map") ? "map" : name))
        .findFirst()
        .orElse(null);
  }

  /** The value of {@code --rule}. */
  public String optionValue() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Whether what it solves has a penalty. */
  public boolean regularised() {
    return this != COMPENSATE;
  }

  boolean select() {
    return compareTo(SELECT) >= 0;
  }

  boolean align() {
    return compareTo(ALIGN) >= 0;
  }

  boolean later() {
    return compareTo(REPAIR) >= 0;
  }

  boolean refine() {
    return compareTo(REFINE) >= 0;
  }
}
