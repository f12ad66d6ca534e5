package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;

/**
 * The numbers of Algorithm 1 (arXiv 2402.11187).
 *
 * @param mergeLayers C, layers merged at once, base included
 * @param interval I, how far the base moves down after an accept
 * @param lowest L, lowest base index
 * @param highest H, exclusive end: the first base tried is H - C
 */
public record CollapseSettings(
    int mergeLayers, int interval, int lowest, int highest, MergeRule rule, NormsPolicy norms) {

  /**
   * Checks the numbers against a model's depth.
   *
   * @throws UsageException that names the option and the range
   */
  public void check(int depth) {
    checkSpans(mergeLayers, lowest, highest, depth);
    if (interval < 1) {
      throw Setting.of("interval").refuse(interval, "at least 1");
    }
  }

  /** The first base that is tried, H - C. */
  public int firstBase() {
    return highest - mergeLayers;
  }

  /** How many bases there are, from the first down to the lowest. */
  public int bases() {
    return firstBase() - lowest + 1;
  }

  /** Checks that settings of a search, whose shallowest model has a depth, reach a target. */
  static void requireReach(int target, int shallowest, int depth) {
    if (target < shallowest) {
      throw new UsageException(
          "a depth of "
              + target
              + " layers is out of reach with these settings: the shallowest is "
              + shallowest
              + " of "
              + depth
              + "; lower "
              + Setting.of("lowest")
              + ", raise "
              + Setting.of("highest")
              + ", or ask for "
              + shallowest
              + " or more");
    }
  }

  /**
   * Checks that a model has layers to spare.
   *
   * @throws UsageException if it has only one
   */
  public static void requireSeveral(int depth) {
    if (depth < 2) {
      throw new UsageException("a model of " + depth + " layer has nothing to merge");
    }
  }

  /** Checks the numbers that every search over spans has. */
  static void checkSpans(int mergeLayers, int lowest, int highest, int depth) {
    requireSeveral(depth);
    if (mergeLayers < 2 || mergeLayers > depth) {
      throw Setting.of("mergeLayers").refuse(mergeLayers, "2 to the model's depth, " + depth);
    }
    if (highest < mergeLayers || highest > depth) {
      throw Setting.of("highest")
          .refuse(
              highest,
              Setting.of("mergeLayers") + ", " + mergeLayers + ", to the model's depth, " + depth);
    }
    if (lowest < 0 || lowest > highest - mergeLayers) {
      throw Setting.of("lowest")
          .refuse(
              lowest,
              "0 to "
                  + Setting.of("highest")
                  + " minus "
                  + Setting.of("mergeLayers")
                  + ", "
                  + (highest - mergeLayers));
    }
  }
}
