package dev.laco.checkpoint.scaled;

import dev.laco.model.DType;
import dev.laco.model.ElementType;
import java.util.Locale;

/**
 * The type of weights that are stored as codes with scales; see {@link QuantisedWeights}.
 *
 * @param codes the type of the codes, for people
 * @param dtype the type of the weights that are computed from the codes
 */
record ScaledType(String codes, DType dtype) implements ElementType {
  @Override
  public String name() {
    return codes.toUpperCase(Locale.ROOT);
  }

  @Override
  public boolean isQuantised() {
    return true;
  }

  /** For people: {@code bf16 from f8_e4m3}. */
  @Override
  public String shortName() {
    return dtype.shortName() + " from " + codes;
  }

  /** The name, as the constants of the other types have it. */
  @Override
  public String toString() {
    return name();
  }
}
