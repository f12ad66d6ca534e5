package dev.laco;

/** How exactly a device calculates. */
public enum Compute {
  /** In f32 throughout, weights widened: hidden states agree with those of an f64 forward pass. */
  F32,
  /**
   * Matrix products multiply in the dtype of the weights where the device is faster at that than in
   * f32; their sums are f32.
   */
  AUTO
}
