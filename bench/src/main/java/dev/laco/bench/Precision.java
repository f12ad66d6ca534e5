package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.model.DType;
import java.util.Arrays;

/** The dtype of weights, and that of the products with them. */
enum Precision {
  F32("f32", DType.F32, Compute.F32),
  BF16("bf16", DType.BF16, Compute.AUTO),
  /** The parity mode. */
  BF16_AS_F32("bf16-as-f32", DType.BF16, Compute.F32),
  F16("f16", DType.F16, Compute.AUTO);

  private final String displayName;
  private final DType weights;
  private final Compute compute;

  Precision(String displayName, DType weights, Compute compute) {
    this.displayName = displayName;
    this.weights = weights;
    this.compute = compute;
  }

  static Precision of(String name) {
    return Arrays.stream(values())
        .filter(precision -> precision.displayName.equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("no precision " + name));
  }

  DType weights() {
    return weights;
  }

  Compute compute() {
    return compute;
  }
}
