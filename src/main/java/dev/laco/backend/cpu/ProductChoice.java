package dev.laco.backend.cpu;

import dev.laco.Compute;
import dev.laco.UsageException;
import dev.laco.model.DType;

/**
 * The type in which this processor multiplies by bf16 weights, and the reason.
 *
 * @param type bf16, or f32, to which weights are then widened
 * @param reason in words; empty where only f32 was possible
 */
record ProductChoice(DType type, String reason) {
  /** The system property that chooses {@code bf16} or {@code f32}, so that nothing is measured. */
  static final String PROPERTY = "laco.cpu.products";

  /**
   * Chooses the type that is faster here, unless {@code compute} or the property {@value #PROPERTY}
   * names one.
   *
   * @throws UsageException if the property names a type in which this processor does not multiply
   */
  static ProductChoice of(Compute compute, CpuTier tier, ProductRates.Sizes sizes) {
    String named = System.getProperty(PROPERTY);
    if (compute == Compute.F32) {
      return new ProductChoice(DType.F32, "");
    }
    if (named != null) {
      return named(named);
    }
    if (!ProductRates.hasBf16()) {
      return new ProductChoice(DType.F32, "");
    }
    return ProductRates.of(tier, sizes).faster() == DType.BF16
        ? new ProductChoice(DType.BF16, "faster than f32 here")
        : new ProductChoice(DType.F32, "faster than bf16 here");
  }

  private static ProductChoice named(String name) {
    String reason = PROPERTY + "=" + name;
    if (name.equals(DType.F32.shortName())) {
      return new ProductChoice(DType.F32, reason);
    }
    if (name.equals(DType.BF16.shortName()) && ProductRates.hasBf16()) {
      return new ProductChoice(DType.BF16, reason);
    }
    throw new UsageException(
        reason + ": expected f32" + (ProductRates.hasBf16() ? " or bf16" : ""));
  }

  /** {@code bf16 products: faster than f32 here}. */
  @Override
  public String toString() {
    return type.shortName() + " products" + (reason.isEmpty() ? "" : ": " + reason);
  }
}
