package dev.laco.model;

/** The parts of a layer to which a merge may give coefficients of their own. */
public enum TensorGroup {
  /** Matrices of the attention block. */
  ATTENTION,
  /** Matrices of the feed-forward block. */
  FEED_FORWARD,
  /** Norm weights, query and key norms, and all biases. */
  NORMS
}
