package dev.laco.model;

import static dev.laco.model.TensorGroup.ATTENTION;
import static dev.laco.model.TensorGroup.FEED_FORWARD;
import static dev.laco.model.TensorGroup.NORMS;

/** The role of a layer's tensor in the forward pass. */
public enum LayerRole {
  ATTENTION_INPUT_NORM(NORMS),
  ATTENTION_INPUT_NORM_BIAS(NORMS),
  /** Queries, keys and values in one matrix; see {@link ModelConfig#headsInterleaved}. */
  QUERY_KEY_VALUE(ATTENTION),
  QUERY(ATTENTION),
  KEY(ATTENTION),
  VALUE(ATTENTION),
  OUTPUT(ATTENTION),
  QUERY_KEY_VALUE_BIAS(NORMS),
  QUERY_BIAS(NORMS),
  KEY_BIAS(NORMS),
  VALUE_BIAS(NORMS),
  OUTPUT_BIAS(NORMS),
  QUERY_NORM(NORMS),
  KEY_NORM(NORMS),
  ATTENTION_OUTPUT_NORM(NORMS),
  FEED_FORWARD_INPUT_NORM(NORMS),
  FEED_FORWARD_INPUT_NORM_BIAS(NORMS),
  GATE(FEED_FORWARD),
  UP(FEED_FORWARD),
  DOWN(FEED_FORWARD),
  FEED_FORWARD_OUTPUT_NORM(NORMS),
  ROUTER(FEED_FORWARD),
  SHARED_ROUTER(FEED_FORWARD),
  SHARED_GATE(FEED_FORWARD),
  SHARED_UP(FEED_FORWARD),
  SHARED_DOWN(FEED_FORWARD),
  GATE_BIAS(NORMS),
  UP_BIAS(NORMS),
  DOWN_BIAS(NORMS);

  private final TensorGroup group;

  LayerRole(TensorGroup group) {
    this.group = group;
  }

  /** The part of the layer to which a merge counts the tensor. */
  public TensorGroup group() {
    return group;
  }

  /** Whether the tensor is the weight of a norm. */
  boolean isNorm() {
    return switch (this) {
      case ATTENTION_INPUT_NORM,
          QUERY_NORM,
          KEY_NORM,
          ATTENTION_OUTPUT_NORM,
          FEED_FORWARD_INPUT_NORM,
          FEED_FORWARD_OUTPUT_NORM ->
          true;
      default -> false;
    };
  }
}
