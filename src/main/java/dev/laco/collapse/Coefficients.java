package dev.laco.collapse;

import java.util.Collections;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * A linear combination of original layers: original index to coefficient, ascending, zeros left
 * out.
 *
 * @param terms never empty
 */
public record Coefficients(SortedMap<Integer, Double> terms) {
  public Coefficients {
    SortedMap<Integer, Double> kept = new TreeMap<>();
    terms.forEach(
        (layer, coefficient) -> {
          if (layer < 0 || !Double.isFinite(coefficient)) {
            throw new IllegalArgumentException(
                "layer " + layer + " with coefficient " + coefficient);
          }
          if (coefficient != 0) {
            kept.put(layer, coefficient);
          }
        });
    if (kept.isEmpty()) {
      throw new IllegalArgumentException("every coefficient is zero");
    }
    terms = Collections.unmodifiableSortedMap(kept);
  }

  /** The original layer itself. */
  public static Coefficients of(int layer) {
    return new Coefficients(new TreeMap<>(Map.of(layer, 1.0)));
  }

  /** True if this is the original layer {@code layer}, unchanged. */
  public boolean isCopyOf(int layer) {
    return terms.equals(Map.of(layer, 1.0));
  }

  /** True if this is one original layer, unchanged. */
  public boolean isCopy() {
    return isCopyOf(terms.firstKey());
  }
}
