package dev.laco.transformer;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import org.jspecify.annotations.Nullable;

/**
 * One layer, in the four steps between which what it computes can be looked at: {@link #attend},
 * {@link #project}, {@link #features}, {@link #contribute}. {@link #run} does them all.
 *
 * <p>{@code x [T, d]} is the residual stream; each step leaves its result in a buffer of the
 * workspace.
 */
public final class DecoderLayer {
  private final Backend backend;
  private final ModelConfig config;

  /** Layers of models of this config. */
  public DecoderLayer(Backend backend, ModelConfig config) {
    this.backend = backend;
    this.config = config;
  }

  /** The whole layer over whole sequences: {@code x} in place. */
  public void run(
      LayerWeights weights, int window, Tensor x, TokenBatch batch, Workspace.Buffers buffers) {
    run(weights, window, x, batch, buffers, KeyValues.of(buffers));
  }

  /** The whole layer: {@code x} in place. */
  void run(
      LayerWeights weights,
      int window,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValues past) {
    attend(weights, window, x, batch, buffers, past);
    project(weights, buffers);
    backend.addRmsNorm(
        x,
        buffers.normed(),
        weights.get(LayerRole.POST_ATTENTION_NORM),
        config.rmsNormEps(),
        buffers.normed());
    activate(weights, buffers);
    contribute(weights, x, buffers);
  }

  /** Attention over whole sequences: what the heads say of {@code x}, in {@code attended}. */
  public void attend(
      LayerWeights weights, int window, Tensor x, TokenBatch batch, Workspace.Buffers buffers) {
    attend(weights, window, x, batch, buffers, KeyValues.of(buffers));
  }

  private void attend(
      LayerWeights weights,
      int window,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValues past) {
    Tensor normed = buffers.normed();
    Tensor query = buffers.query();
    backend.rmsNorm(x, weights.get(LayerRole.INPUT_NORM), config.rmsNormEps(), normed);
    Tensor queryWeight = weights.get(LayerRole.QUERY);
    backend.linear(normed, queryWeight, weights.find(LayerRole.QUERY_BIAS), query);
    backend.linear(
        normed, weights.get(LayerRole.KEY), weights.find(LayerRole.KEY_BIAS), past.newKeys());
    backend.linear(
        normed, weights.get(LayerRole.VALUE), weights.find(LayerRole.VALUE_BIAS), past.newValues());
    normRope(query, weights.find(LayerRole.QUERY_NORM), batch);
    normRope(past.newKeys(), weights.find(LayerRole.KEY_NORM), batch);
    AttentionSpec spec =
        new AttentionSpec(
            config.numAttentionHeads(),
            config.numKeyValueHeads(),
            config.headDim(),
            window,
            (float) (1 / Math.sqrt(config.headDim())),
            backend.productType(queryWeight.dtype()));
    backend.attention(query, past.keys(), past.values(), spec, batch, buffers.attended());
  }

  private void normRope(Tensor heads, @Nullable Tensor weight, TokenBatch batch) {
    backend.normRope(heads, weight, config.rmsNormEps(), config.headDim(), batch);
  }

  /** From {@code attended} to what attention adds to the stream, in {@code normed}. */
  public void project(LayerWeights weights, Workspace.Buffers buffers) {
    backend.linear(
        buffers.attended(),
        weights.get(LayerRole.OUTPUT),
        weights.find(LayerRole.OUTPUT_BIAS),
        buffers.normed());
  }

  /**
   * The channels of the feed-forward part at {@code y}, the stream after attention: {@code
   * activation(gate) * up} in {@code gate}, {@code [T, intermediateSize]}.
   */
  public void features(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    normed(weights, y, buffers);
    activate(weights, buffers);
  }

  /**
   * The {@link Backend#gatedSlopes slopes} of the channels at {@code y}: along up in {@code gate},
   * along the gate in {@code up}. Their input is left in {@code normed}.
   */
  public void slopes(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    normed(weights, y, buffers);
    gateAndUp(weights, buffers);
    backend.gatedSlopes(config.hiddenAct(), buffers.gate(), buffers.up());
  }

  private void normed(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    backend.rmsNorm(
        y, weights.get(LayerRole.POST_ATTENTION_NORM), config.rmsNormEps(), buffers.normed());
  }

  private void activate(LayerWeights weights, Workspace.Buffers buffers) {
    gateAndUp(weights, buffers);
    backend.gatedActivation(config.hiddenAct(), buffers.gate(), buffers.up(), buffers.gate());
  }

  private void gateAndUp(LayerWeights weights, Workspace.Buffers buffers) {
    Tensor normed = buffers.normed();
    backend.linear(
        normed, weights.get(LayerRole.GATE), weights.find(LayerRole.GATE_BIAS), buffers.gate());
    backend.linear(
        normed, weights.get(LayerRole.UP), weights.find(LayerRole.UP_BIAS), buffers.up());
  }

  /** Adds to {@code y} what the channels in {@code gate} contribute. */
  public void contribute(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    backend.linear(
        buffers.gate(),
        weights.get(LayerRole.DOWN),
        weights.find(LayerRole.DOWN_BIAS),
        buffers.normed());
    backend.add(y, buffers.normed());
  }
}
