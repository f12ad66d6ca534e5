package dev.laco.collapse;

import java.util.Locale;

/** What a merge does with norm weights and biases. */
public enum NormsPolicy {
  /** The base layer's are kept. */
  BASE,
  /** They are merged with the same coefficients as the matrices. */
  MERGE;

  /** The value of {@code --norms}. */
  public String optionValue() {
    return name().toLowerCase(Locale.ROOT);
  }
}
