package dev.laco.checkpoint.scaled;

import dev.laco.checkpoint.table.StoredType;
import dev.laco.model.DType;
import dev.laco.model.ElementType;

/**
 * The type of weights that are stored as codes of eight bits with scales; see {@link
 * ScaledWeights}.
 *
 * @param stored the type of the codes
 * @param dtype the type of the weights that are computed from the codes
 */
record ScaledType(StoredType stored, DType dtype) implements ElementType {
  @Override
  public String name() {
    return stored.name();
  }

  @Override
  public boolean isQuantised() {
    return true;
  }

  /** For people: {@code bf16 from f8_e4m3}. */
  @Override
  public String shortName() {
    return dtype.shortName() + " from " + stored.shortName();
  }

  /** The name, as the constants of the other types have it. */
  @Override
  public String toString() {
    return name();
  }
}
