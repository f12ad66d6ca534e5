package dev.laco.fit;

import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * How far weights are fitted to carry over what removed layers did; from FIT on, each does more.
 */
public enum FitRule {
  /** All layers behind a gap write less, as if the stream had grown there (Prune&Comp). */
  COMPENSATE(1, "drop, then what later layers write is scaled (Prune&Comp)"),
  /** The down projection before each gap, behind one linear map (ReplaceMe). */
  MAP(1, "drop, then one linear map before each gap (ReplaceMe)"),
  /** The down projection before each gap. */
  FIT(2, "drop, then the down projection before each gap fitted"),
  /** That, after its channels were chosen from all layers that it stands for. */
  SELECT(2, "fit, its channels chosen from all layers of the gap"),
  /** That, the channels' inputs aligned to what they saw in the original. */
  ALIGN(2, "select, the inputs of its channels aligned"),
  /** That, and in every layer behind a gap inputs aligned, output and down projection fitted. */
  REPAIR(3, "align, and every layer behind a gap fitted"),
  /**
   * That, the gate and up projections of all these layers moved by Gauss-Newton steps, and the
   * final norm as long as the original's predictions ask for.
   */
  REFINE(4, "repair, then Gauss-Newton steps: the best and dearest");

  private final int cost;
  private final String summary;

  FitRule(int cost, String summary) {
    this.cost = cost;
    this.summary = summary;
  }

  /** What it does, in a few words for people. */
  public String summary() {
    return summary;
  }

  /** How dear it is among these rules: each step up takes longer than the one before. */
  public int cost() {
    return cost;
  }

  /** What a layer that is fitted takes, or one behind it, in passes of the original's layer. */
  public int layerPasses() {
    return refine() ? 20 : later() ? 6 : 2;
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

  public boolean later() {
    return compareTo(REPAIR) >= 0;
  }

  boolean refine() {
    return compareTo(REFINE) >= 0;
  }
}
