package dev.laco.transformer;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.LayerRole;
import dev.laco.model.LinearAttention;
import dev.laco.model.ModelConfig;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The heads of a layer with {@link LinearAttention}. */
final class LinearHeads {
  private static final double[] ONCE = {1};

  private final ForwardOps backend;
  private final ModelConfig config;
  private final @Nullable TrainingOps training;
  private final DeltaSpec delta;

  /**
   * Computes the heads of layers of models of one config.
   *
   * @param training needed only for buffers that keep all results
   */
  LinearHeads(
      ForwardOps backend,
      ModelConfig config,
      @Nullable TrainingOps training,
      LinearAttention sizes) {
    this.backend = backend;
    this.config = config;
    this.training = training;
    this.delta = delta(sizes);
  }

  /** The shape of the delta rule. */
  static DeltaSpec delta(LinearAttention sizes) {
    return new DeltaSpec(sizes.keyHeads(), sizes.valueHeads(), sizes.key(), sizes.value());
  }

  /**
   * Computes {@code room.attended} of the input of attention, {@code [T, d]}.
   *
   * @param states of earlier tokens, which get those of the batch; null for whole sequences
   */
  void attend(
      LayerWeights weights,
      Tensor input,
      TokenBatch batch,
      Workspace.Linear room,
      @Nullable MixerStates states) {
    widen(weights, room);
    project(weights, input, room);
    backend.causalConvolution(
        room.projected(),
        room.convolution(),
        batch,
        states == null ? null : states.convolution(),
        room.convolved());
    backend.gatedActivation(Activation.SILU, room.convolved(), null, room.heads());
    if (room.errors() == null) {
      backend.gatedDelta(
          room.heads(),
          room.decay(),
          room.rate(),
          room.logDecay(),
          room.decayBias(),
          delta,
          batch,
          states == null ? null : states.delta(),
          room.out());
    } else {
      Objects.requireNonNull(training)
          .gatedDelta(
              room.heads(),
              room.decay(),
              room.rate(),
              room.logDecay(),
              room.decayBias(),
              delta,
              batch,
              room.out(),
              room.errors());
    }
    Tensor weight = weights.get(LayerRole.LINEAR_NORM);
    backend.rmsNorm(byHead(room.out()), weight, config.linearNorm(), byHead(room.normed()));
    backend.gatedActivation(Activation.SILU, room.gate(), room.normed(), room.attended().heads());
  }

  /** Computes the input of the convolution, gates, rates and decays. */
  private void project(LayerWeights weights, Tensor input, Workspace.Linear room) {
    Workspace.LinearFused fused = room.fused();
    if (fused == null) {
      backend.linear(input, weights.get(LayerRole.LINEAR_HEADS), null, room.projected());
      backend.linear(input, weights.get(LayerRole.LINEAR_GATE), null, room.gate());
      backend.linear(input, weights.get(LayerRole.LINEAR_RATE), null, room.rate());
      backend.linear(input, weights.get(LayerRole.LINEAR_DECAY), null, room.decay());
      return;
    }
    backend.linear(input, weights.get(LayerRole.LINEAR_HEADS_GATE), null, fused.headsGate);
    backend.linear(input, weights.get(LayerRole.LINEAR_RATE_DECAY), null, fused.rateDecay);
    LinearRows places = fused.places();
    take(fused.headsGate, places.width, places.heads, room.projected());
    take(fused.headsGate, places.width, places.gates, room.gate());
    take(fused.rateDecay, 1, places.rates, room.rate());
    take(fused.rateDecay, 1, places.decays, room.decay());
  }

  /** Copies runs of {@code width} elements, each from its place in {@code from}. */
  private void take(Tensor from, int width, int[] places, Tensor to) {
    backend.gather(DecoderLayer.byHead(from, width), places, to.reshape(places.length, width));
  }

  /**
   * Puts gradients in the order of the outputs of {@link Workspace.LinearFused}, whose memory they
   * get.
   *
   * @param byGate gradient by gates
   */
  void fuse(Workspace.LinearFused fused, Workspace.LinearScratch by, Tensor byGate) {
    LinearRows places = fused.places();
    backend.copy(byGate, by.gate());
    take(by.headsGate(), places.width, places.inverseOfHeads(), fused.headsGate);
    take(by.rateDecay(), 1, places.inverseOfRates(), fused.rateDecay);
  }

  /** Copies the weights that ops take in f32 alone. */
  private void widen(LayerWeights weights, Workspace.Linear room) {
    Tensor convolution = weights.get(LayerRole.CONVOLUTION);
    backend.mix(
        List.of(
            new TensorMix(
                room.convolution(),
                ONCE,
                List.of(
                    convolution.reshape(room.convolution().rows(), room.convolution().columns()))),
            new TensorMix(room.logDecay(), ONCE, List.of(weights.get(LayerRole.LOG_DECAY))),
            new TensorMix(room.decayBias(), ONCE, List.of(weights.get(LayerRole.DECAY_BIAS)))));
  }

  /** Values of all heads as one head a row. */
  Tensor byHead(Tensor values) {
    return values.reshape(values.elements() / delta.value(), delta.value());
  }

  /**
   * Turns the gradient by the outputs of the delta rule into those by the outputs of the
   * projections in front of it. Results of the forward pass are overwritten.
   *
   * @param batch of whole sequences
   * @param room whose {@code normed} has the gradient by the outputs of the delta rule
   * @param scratch gets the gradients: {@code heads} that by the input of the convolution
   * @param sums gradients by weights, which are added to
   */
  void backward(
      TokenBatch batch, Workspace.Linear room, Workspace.LinearScratch scratch, LayerWeights sums) {
    TrainingOps ops = Objects.requireNonNull(training);
    ops.gatedDeltaGradient(
        room.heads(),
        room.decay(),
        room.rate(),
        room.logDecay(),
        room.decayBias(),
        delta,
        batch,
        Objects.requireNonNull(room.errors()),
        room.normed(),
        scratch.heads(),
        scratch.decay(),
        scratch.rate(),
        scratch.logDecay());
    Tensor byDecayBias = sums.find(LayerRole.DECAY_BIAS);
    if (byDecayBias != null) {
      ops.addColumns(scratch.decay(), byDecayBias);
    }
    Tensor byLogDecay = sums.find(LayerRole.LOG_DECAY);
    if (byLogDecay != null) {
      ops.addColumns(scratch.logDecay(), byLogDecay);
    }
    ops.gatedGradients(Activation.SILU, room.convolved(), null, scratch.heads());
    Tensor byWeight = sums.find(LayerRole.CONVOLUTION);
    ops.causalConvolutionGradient(
        room.projected(),
        room.convolution(),
        batch,
        room.convolved(),
        byWeight == null
            ? null
            : byWeight.reshape(room.convolution().rows(), room.convolution().columns()),
        scratch.heads());
  }
}
