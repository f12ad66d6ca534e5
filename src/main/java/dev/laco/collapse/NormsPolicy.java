package dev.laco.collapse;

import java.util.Locale;

/** What a merge does with norm weights and biases. */
public enum NormsPolicy {
  /** The merged layer has the norm weights and biases of its base. */
  BASE,
  /** They are merged with the same coefficients as the matrices. */
  MERGE;

  /** The value of the setting {@code norms}. */
  public String optionValue() {
    return name().toLowerCase(Locale.ROOT);
  }
}
