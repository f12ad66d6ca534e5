package dev.laco.collapse;

import java.util.Collections;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * A linear combination of original layers: {@code sum_l c_l * layer_l}.
 *
 * @param terms the coefficient {@code c_l} by the index of each layer, without zeros; never empty
 */
public record Coefficients(SortedMap<Integer, Double> terms) {
  /**
   * A combination of the terms whose coefficient is not 0.
   *
   * @throws IllegalArgumentException if there is no such term, a coefficient is not finite, or an
   *     index is negative
   */
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
