package dev.laco.fit;

import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** How far weights are fitted to carry over what removed layers did. */
public enum FitRule {
  /** All layers behind a gap write less, as if the stream had grown there (Prune&Comp). */
  COMPENSATE(false, false, false),
  /** The down projection before each gap, behind one linear map (ReplaceMe). */
  MAP(false, false, false),
  /** The down projection before each gap. */
  FIT(false, false, false),
  /** That, after its channels were chosen from all layers that it stands for. */
  SELECT(true, false, false),
  /** That, the channels' inputs aligned to what they saw in the original. */
  ALIGN(true, true, false),
  /** That, and in every layer behind a gap inputs aligned, output and down projection fitted. */
  REPAIR(true, true, true);

  private final boolean select;
  private final boolean align;
  private final boolean later;

  FitRule(boolean select, boolean align, boolean later) {
    this.select = select;
    this.align = align;
    this.later = later;
  }

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

  boolean select() {
    return select;
  }

  boolean align() {
    return align;
  }

  boolean later() {
    return later;
  }
}
