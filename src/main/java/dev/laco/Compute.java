package dev.laco;

/** How exactly a backend calculates. */
public enum Compute {
  /** Weights are widened to f32 and everything is f32: the parity mode. */
  F32,
  /** Matrix products take the weights' own dtype; accumulation stays f32. */
  AUTO
}
