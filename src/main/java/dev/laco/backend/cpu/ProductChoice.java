package dev.laco.backend.cpu;

import dev.laco.UsageException;
import dev.laco.backend.Compute;
import dev.laco.model.DType;

/**
 * In which type the processor multiplies by weights in bf16, and why in this one.
 *
 * @param type bf16, or f32 to which weights are widened then
 * @param reason empty where there is no choice
 */
record ProductChoice(DType type, String reason) {
  /**
   * The system property that chooses, {@code bf16} or {@code f32}, where nothing is to be measured.
   */
  static final String PROPERTY = "laco.cpu.products";

  /**
   * The quicker one, unless {@code compute} or {@value #PROPERTY} says which.
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
