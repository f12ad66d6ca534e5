package dev.laco.training;

import java.util.Arrays;
import java.util.function.Predicate;

/**
 * What of all trained layers stays in the memory of the device while they are trained. The rest
 * lies in a file, and is brought in for one layer at a time. Results do not depend on it.
 */
public enum Residence {
  /** Weights, gradients, what AdamW holds, and the results of the forward pass of a batch. */
  EVERYTHING,
  /** Weights, gradients, and what AdamW holds: the forward pass of layers is run twice. */
  PARAMETERS,
  /** Weights and gradients. */
  GRADIENTS,
  /** Weights alone. */
  WEIGHTS,
  /** Nothing: all is brought in for one layer at a time. */
  ONE_LAYER;

  /**
   * As much as there is room for.
   *
   * @param suffices whether the memory suffices for it
   */
  public static Residence most(Predicate<Residence> suffices) {
    return Arrays.stream(values()).filter(suffices).findFirst().orElse(ONE_LAYER);
  }

  /** Whether the results of the forward pass of all layers stay until their backward pass. */
  public boolean keepsResults() {
    return this == EVERYTHING;
  }

  /** Whether the weights of all layers stay. */
  boolean keepsWeights() {
    return this != ONE_LAYER;
  }

  /** Whether the gradients of all layers stay. */
  boolean keepsGradients() {
    return keepsMoments() || this == GRADIENTS;
  }

  /** Whether what AdamW holds of all layers stays. */
  public boolean keepsMoments() {
    return this == EVERYTHING || this == PARAMETERS;
  }
}
