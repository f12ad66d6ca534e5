package dev.laco.model;

import static dev.laco.model.TensorGroup.ATTENTION;
import static dev.laco.model.TensorGroup.FEED_FORWARD;
import static dev.laco.model.TensorGroup.NORMS;

import java.util.Set;

/** The role of a layer's tensor in the forward pass. */
public enum LayerRole {
  ATTENTION_INPUT_NORM(NORMS),
  ATTENTION_INPUT_NORM_BIAS(NORMS),
  /** Queries, keys and values in one matrix; see {@link ModelConfig#headsInterleaved}. */
  QUERY_KEY_VALUE(ATTENTION),
  QUERY(ATTENTION),
  KEY(ATTENTION),
  VALUE(ATTENTION),
  /** To the latent vector of queries; see {@link LatentAttention}. */
  QUERY_COMPRESSION(ATTENTION),
  /** From the latent vector of queries to the queries of all heads. */
  QUERY_EXPANSION(ATTENTION),
  /** To the latent vector of keys and values. */
  KEY_VALUE_COMPRESSION(ATTENTION),
  /** To the elements of keys that are rotated, which are the same for all heads. */
  ROTATED_KEY(ATTENTION),
  /** From the latent vector of keys and values to the other elements of keys, and to values. */
  KEY_VALUE_EXPANSION(ATTENTION),
  /** Queries, keys and values of linear attention in one matrix; see {@link LinearAttention}. */
  LINEAR_HEADS(ATTENTION),
  /** To the gates of the outputs of linear attention. */
  LINEAR_GATE(ATTENTION),
  /** To the rates at which the states of linear attention change. */
  LINEAR_RATE(ATTENTION),
  /** To the decays of the states of linear attention. */
  LINEAR_DECAY(ATTENTION),
  /**
   * {@link #LINEAR_HEADS} and {@link #LINEAR_GATE} in one matrix; see {@link
   * ModelConfig#linearHeadsByKey}.
   */
  LINEAR_HEADS_GATE(ATTENTION),
  /** {@link #LINEAR_RATE} and {@link #LINEAR_DECAY} in one matrix likewise. */
  LINEAR_RATE_DECAY(ATTENTION),
  /** To the factors {@code b} on the input of a {@link ShortConvolution}. */
  CONVOLUTION_GATE(ATTENTION),
  /** To the factors {@code c} on its output. */
  CONVOLUTION_OUTPUT_GATE(ATTENTION),
  /** To its input {@code x}. */
  CONVOLUTION_INPUT(ATTENTION),
  OUTPUT(ATTENTION),
  QUERY_KEY_VALUE_BIAS(NORMS),
  QUERY_BIAS(NORMS),
  KEY_BIAS(NORMS),
  VALUE_BIAS(NORMS),
  OUTPUT_BIAS(NORMS),
  /** For each head one more score in the softmax of attention, which has no value. */
  SINKS(NORMS),
  /**
   * The weights by which linear attention or a {@link ShortConvolution} sums the latest tokens, a
   * few for each column.
   */
  CONVOLUTION(NORMS),
  LOG_DECAY(NORMS),
  DECAY_BIAS(NORMS),
  /**
   * The norm of the outputs of each head of linear attention, which adds nothing to its weights.
   */
  LINEAR_NORM(NORMS),
  QUERY_NORM(NORMS),
  KEY_NORM(NORMS),
  QUERY_LATENT_NORM(NORMS),
  KEY_VALUE_LATENT_NORM(NORMS),
  ATTENTION_OUTPUT_NORM(NORMS),
  FEED_FORWARD_INPUT_NORM(NORMS),
  FEED_FORWARD_INPUT_NORM_BIAS(NORMS),
  GATE(FEED_FORWARD),
  UP(FEED_FORWARD),
  DOWN(FEED_FORWARD),
  FEED_FORWARD_OUTPUT_NORM(NORMS),
  ROUTER(FEED_FORWARD),
  ROUTER_BIAS(NORMS),
  /** What the choice of experts adds to their scores, one number an expert; shares lack it. */
  ROUTER_CORRECTION(NORMS),
  /**
   * Gate and up projection of an expert in one matrix {@code [d, 2 k]}. Where {@link Mixture#gate
   * gates are clamped}, gate and up of a channel are columns side by side; elsewhere the columns of
   * all gates come first.
   */
  GATE_UP_TRANSPOSED(FEED_FORWARD),
  /** The down projection of such an expert, {@code [k, d]}. */
  DOWN_TRANSPOSED(FEED_FORWARD),
  GATE_UP_BIAS(NORMS),
  /** The row whose product's sigmoid is the share of the shared expert; 1 without it. */
  SHARED_ROUTER(FEED_FORWARD),
  SHARED_GATE(FEED_FORWARD),
  SHARED_UP(FEED_FORWARD),
  SHARED_DOWN(FEED_FORWARD),
  GATE_BIAS(NORMS),
  UP_BIAS(NORMS),
  DOWN_BIAS(NORMS);

  /** The roles of experts whose matrices have a row for each input, and gate beside up. */
  static final Set<LayerRole> TRANSPOSED =
      Set.of(GATE_UP_TRANSPOSED, DOWN_TRANSPOSED, GATE_UP_BIAS);

  private final TensorGroup group;

  LayerRole(TensorGroup group) {
    this.group = group;
  }

  /** The part of the layer to which a merge counts the tensor. */
  public TensorGroup group() {
    return group;
  }

  /** Whether a layer multiplies by the tensor as by a linear layer's weight {@code [out, in]}. */
  public boolean isLinear() {
    return group != NORMS && this != GATE_UP_TRANSPOSED && this != DOWN_TRANSPOSED;
  }

  /** Whether the tensor is the weight of a norm. */
  public boolean isNorm() {
    return switch (this) {
      case ATTENTION_INPUT_NORM,
          LINEAR_NORM,
          QUERY_NORM,
          KEY_NORM,
          QUERY_LATENT_NORM,
          KEY_VALUE_LATENT_NORM,
          ATTENTION_OUTPUT_NORM,
          FEED_FORWARD_INPUT_NORM,
          FEED_FORWARD_OUTPUT_NORM ->
          true;
      default -> false;
    };
  }
}
